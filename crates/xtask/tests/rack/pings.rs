//! Whether traffic is disturbed: one guest pings another, and tells afterwards for how long there was no answer.

use std::time::Duration;

use photon_e2e::console::Console;
use photon_e2e::guest::Guest;

use crate::SECOND;

/// Pings per second of the guest that watches.
pub const RATE: u32 = 5;

pub async fn start_pinging(guest: &mut Guest<Console>, address: &str) {
    // In the background: the console itself goes away when the daemons do.
    let interval = 1.0 / f64::from(RATE);
    let ping = format!("rm -f /tmp/pings; (ping -i {interval} {address} >/tmp/pings 2>&1 &)");
    guest.check(&ping, 30 * SECOND).await.unwrap();
}

/// Pings that were answered, and the longest run without an answer, as time.
pub async fn longest_silence(guest: &mut Guest<Console>) -> (u32, Duration) {
    guest
        .check(
            "killall ping; sed -n 's/.*seq=\\([0-9]*\\) .*/\\1/p' /tmp/pings >/tmp/seqs",
            30 * SECOND,
        )
        .await
        .unwrap();
    let report = guest
        .check(
            "awk 'NR>1 && $1-last-1>most {most=$1-last-1} {last=$1} END {print NR, most+0}' /tmp/seqs",
            30 * SECOND,
        )
        .await
        .unwrap();
    let mut words = report
        .split_whitespace()
        .map(|word| word.parse::<u32>().unwrap());
    let (answers, most) = (words.next().unwrap(), words.next().unwrap());
    (answers, SECOND * most / RATE)
}
