//! A VM by CreateVm, against the very same QEMU started by hand, in turns.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use photon_api::plasmavmc::v1::console_request::Message;
use photon_api::plasmavmc::v1::{ConsoleRequest, Image, StopVmRequest, Vm, VmPhase};
use photon_api::prismnet::v1::{Port, Subnet};
use tokio::time::{Instant, timeout};

use crate::progress::say;
use crate::rack::GuestFiles;
use photon_e2e::Session;
use photon_e2e::guest::Line;
use photon_e2e::guest::quote;

use super::figures::{Figure, Verdict, interval, median, verdict};

const MEMORY_MIB: u64 = 192;
const BOOT: Duration = Duration::from_secs(180);
const STOP: Duration = Duration::from_secs(60);
/// What the guest prints when it has its address.
const LEASE: &str = "PHOTON-GUEST lease ";

/// A host with PhotonCloud, from outside.
pub trait Place {
    /// Whether it has the machine's clock and speed. If not, times of the two are not compared, and only ratios count.
    const NATIVE: bool;

    /// Runs a bash script that must succeed; its standard output.
    fn check(&self, script: &str) -> impl Future<Output = Result<String>>;
    /// Starts a bash script to be talked to; it ends when this is dropped.
    fn talk(&self, script: &str) -> impl Future<Output = Result<impl Line>>;
    /// Makes what a port needs on the host and nobody else makes.
    fn plug(&self, subnet: &Subnet, port: &Port) -> impl Future<Output = Result<()>>;
    /// Removes it.
    fn unplug(&self, port: &Port) -> impl Future<Output = Result<()>>;
}

/// Seconds, all of one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// CreateVm sent to answered.
    answer: f64,
    /// CreateVm answered to QEMU's exec, by systemd's word.
    exec: f64,
    /// CreateVm answered to the lease on the console, by way of PlasmaVMC's Console call.
    lease: f64,
    /// The same QEMU by hand: exec to the lease on its console.
    hand: f64,
}

/// Rounds of both ways, after one that brings the image to the host: until the difference is above the noise, or
/// `most` rounds did not show one.
pub async fn measure<P: Place>(
    part: &'static str,
    place: &P,
    tenant: &Session,
    files: &GuestFiles,
    most: usize,
) -> Result<Vec<Figure>> {
    let vpc = tenant.create_vpc("vms", "10.0.0.0/16").await?;
    let subnet = tenant
        .create_subnet(&vpc, "vms", "10.0.1.0/24", "10.0.1.1")
        .await?;
    let image = tenant
        .import_kernel("bench", &files.kernel_unpacked, &files.initrd)
        .await?;
    round(place, tenant, &subnet, &image, "first").await?;
    let mut measured = Vec::new();
    let verdict = loop {
        let number = measured.len() + 1;
        let name = format!("vm{number}");
        let round = round(place, tenant, &subnet, &image, &name).await?;
        say(format!(
            "    round {number}: CreateVm {:.0} ms, to exec {:.0} ms, to lease {:.2} s; by hand {:.2} s",
            round.answer * 1e3,
            round.exec * 1e3,
            round.lease,
            round.hand
        ));
        measured.push(round);
        match verdict(&differences(&measured), most) {
            Verdict::More => {}
            known => break known,
        }
    };
    Ok(figures(part, &measured, P::NATIVE, verdict))
}

/// By how many seconds a round's VM was later than the same QEMU by hand.
fn differences(rounds: &[Round]) -> Vec<f64> {
    rounds
        .iter()
        .map(|round| round.lease - round.hand)
        .collect()
}

fn figures(part: &'static str, rounds: &[Round], native: bool, verdict: Verdict) -> Vec<Figure> {
    let of = |value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let figure = |what: &str, unit, samples: &[f64]| Figure::of(part, what, unit, samples);
    let (leases, hands) = (of(|round| round.lease), of(|round| round.hand));
    let by_hand = median(&hands);
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    // The two of one round are neighbours in time: what slows the machine for a while slows both.
    let differences = differences(rounds);
    let overhead: Vec<f64> = differences.iter().map(|seconds| 1e3 * seconds).collect();
    let shares: Vec<f64> = differences
        .iter()
        .map(|seconds| 100.0 * seconds / by_hand)
        .collect();
    // On a machine that others use, the quickest boots are those that they disturbed least.
    let of_least = least(&leases) - least(&hands);
    let noise =
        |samples: &[f64]| interval(samples).map_or(f64::INFINITY, |(low, high)| (high - low) / 2.0);
    let note = match (verdict, interval(&overhead)) {
        (Verdict::AboveNoise, Some((low, high))) => {
            format!("of {by_hand:.2} s; with 95 % confidence {low:.0} to {high:.0} ms")
        }
        (_, Some((low, high))) => format!(
            "of {by_hand:.2} s; after {} rounds not above the noise: {low:.0} to {high:.0} ms",
            rounds.len()
        ),
        (_, None) => format!(
            "of {by_hand:.2} s; {} rounds are too few to say",
            rounds.len()
        ),
    };

    let mut figures = vec![
        figure("CreateVm sent to answered", "ms", &of(|r| 1e3 * r.answer)),
        figure("answered to the guest's lease", "s", &leases),
        figure("by hand: exec to the guest's lease", "s", &hands),
    ];
    let mut milliseconds = figure("overhead, round by round", "ms", &overhead).note(note);
    if native {
        milliseconds = milliseconds.below(150.0).noise(noise(&overhead));
        let exec = figure("answered to QEMU's exec", "ms", &of(|r| 1e3 * r.exec));
        figures.insert(1, exec.below(150.0));
        let boots = of(|r| 1e3 * (r.lease - r.exec - r.hand));
        figures.push(figure("exec to lease, VM less by hand", "ms", &boots));
    }
    figures.push(milliseconds);
    let share = figure("overhead, round by round", "%", &shares);
    figures.push(share.below(5.0).noise(noise(&shares)));
    let quickest = figure("overhead (of the quickest boots)", "ms", &[1e3 * of_least]);
    figures.push(quickest.note(format!("of {:.2} s", least(&hands))));
    figures
}

async fn round(
    place: &impl Place,
    tenant: &Session,
    subnet: &Subnet,
    image: &Image,
    name: &str,
) -> Result<Round> {
    let port = tenant.create_port(subnet, name, "").await?;
    place.plug(subnet, &port).await?;

    let sent = Instant::now();
    let vm = tenant.create_vm(name, image, &port, MEMORY_MIB).await?;
    let (answered, answered_at) = (Instant::now(), SystemTime::now());
    let vm = tenant.wait_for_phase(&vm, VmPhase::Running, BOOT).await?;
    let leased = console_lease(tenant, &vm)
        .await
        .with_context(|| format!("the VM {name}"))?;
    let started_at = exec_time(place, &vm).await?;
    let argv = argv(place, &vm).await?;
    stop(tenant, &vm).await?;

    let hand = by_hand(place, &vm, &argv)
        .await
        .with_context(|| format!("{name} by hand"))?;
    tenant.delete_vm(&vm).await?;
    place.unplug(&port).await?;
    let exec = match started_at.duration_since(answered_at) {
        Ok(after) => after.as_secs_f64(),
        // The answer may be a moment late.
        Err(before) => -before.duration().as_secs_f64(),
    };
    Ok(Round {
        answer: (answered - sent).as_secs_f64(),
        exec,
        lease: (leased - answered).as_secs_f64(),
        hand: hand.as_secs_f64(),
    })
}

/// When the guest said on its console that it has its address. The console also tells what was printed before it
/// was opened.
async fn console_lease(tenant: &Session, vm: &Vm) -> Result<Instant> {
    let (typed, requests) = tokio::sync::mpsc::channel(1);
    let first = ConsoleRequest {
        message: Some(Message::VmId(vm.id.clone())),
    };
    typed.send(first).await.context("the channel is new")?;
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut printed = tenant.vms().console(requests).await?.into_inner();
    let mut text = Vec::new();
    let read = async {
        while let Some(response) = printed.message().await? {
            if has_lease(&mut text, &response.output) {
                return Ok(Instant::now());
            }
        }
        bail!("the server closed the console")
    };
    let read = timeout(BOOT, read).await;
    read.unwrap_or_else(|_| bail!("no lease after {} s", BOOT.as_secs()))
}

/// Adds to the text what was printed, and looks at that and what may have begun before it: the whole of a boot's
/// output at every piece would take the processor from the guest.
fn has_lease(text: &mut Vec<u8>, printed: &[u8]) -> bool {
    let from = text.len().saturating_sub(LEASE.len());
    text.extend_from_slice(printed);
    let mut parts = text[from..].windows(LEASE.len());
    parts.any(|part| part == LEASE.as_bytes())
}

/// When systemd handed the unit's process over to QEMU: microseconds of the clock that both sides share.
async fn exec_time(place: &impl Place, vm: &Vm) -> Result<SystemTime> {
    let mut label = String::new();
    for byte in vm.unit.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => label.push(char::from(byte)),
            false => label.push_str(&format!("_{byte:02x}")),
        }
    }
    let script = format!(
        "busctl get-property org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/{label} \
         org.freedesktop.systemd1.Service ExecMainHandoffTimestamp"
    );
    let printed = place.check(&script).await?;
    let micros = printed.trim().strip_prefix("t ");
    let micros = micros.with_context(|| format!("not a time: {printed}"))?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_micros(micros.parse()?))
}

async fn argv(place: &impl Place, vm: &Vm) -> Result<Vec<String>> {
    let script = format!(
        "tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID {})/cmdline",
        vm.unit
    );
    let argv: Vec<String> = place
        .check(&script)
        .await?
        .lines()
        .map(str::to_owned)
        .collect();
    ensure!(argv.len() > 10, "that is no QEMU: {argv:?}");
    Ok(argv)
}

async fn stop(tenant: &Session, vm: &Vm) -> Result<()> {
    let request = StopVmRequest {
        id: vm.id.clone(),
        force: true,
        ..Default::default()
    };
    tenant.vms().stop_vm(request).await?;
    tenant.wait_for_phase(vm, VmPhase::Stopped, STOP).await?;
    Ok(())
}

/// Starts what the unit ran, as root and without a unit around it; from exec to lease.
async fn by_hand(place: &impl Place, vm: &Vm, argv: &[String]) -> Result<Duration> {
    let command: Vec<String> = argv.iter().map(|word| quote(word)).collect();
    let directory = format!("/run/photoncloud/vm/{}", vm.id);
    // The console is read by the connection that tells of the exec, and of the process's id.
    let script = format!(
        "mkdir -p {directory} && cd / || exit 1\n\
         (echo exec $BASHPID; exec {}) </dev/null &\n\
         until [ -S {directory}/console.sock ]; do sleep 0.005; kill -0 $! || exit 1; done\n\
         socat - UNIX-CONNECT:{directory}/console.sock",
        command.join(" ")
    );
    let mut line = place.talk(&script).await?;
    let mut text = Vec::new();
    let mut begun = None;
    let read = async {
        loop {
            let printed = line.receive().await?;
            let begun = *begun.get_or_insert_with(Instant::now);
            if has_lease(&mut text, &printed) {
                return anyhow::Ok(begun.elapsed());
            }
        }
    };
    let took = match timeout(BOOT, read).await {
        Ok(took) => took,
        Err(_) => bail!("no lease after {} s", BOOT.as_secs()),
    };
    let text = String::from_utf8_lossy(&text);
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("exec "));
    let pid: u32 = pid.context("the script told no process id")?.parse()?;
    // Its end is waited for: the next guest has the processors for itself.
    place
        .check(&format!(
            "kill -9 {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.05; done; rm -rf {directory}"
        ))
        .await?;
    took
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_seen_however_the_console_cuts_it() {
        let said = format!("noise\n{LEASE}10.0.1.2/24 gw=10.0.1.1\n");
        for size in [1, 7, 1000] {
            let mut text = Vec::new();
            let mut pieces = said.as_bytes().chunks(size);
            assert!(pieces.any(|piece| has_lease(&mut text, piece)));
            assert!(!has_lease(
                &mut Vec::new(),
                b"PHOTON-GUEST ready hostname=guest\n"
            ));
        }
    }

    #[test]
    fn the_figures_say_whether_the_difference_is_one() {
        let rounds = |hands: &[f64]| -> Vec<Round> {
            let round = |hand: &f64| Round {
                answer: 0.002,
                exec: 0.1,
                lease: 4.1,
                hand: *hand,
            };
            hands.iter().map(round).collect()
        };
        let note = |rounds: &[Round], verdict| {
            let figures = figures("part", rounds, true, verdict);
            let overhead = figures.into_iter().find(|figure| !figure.note.is_empty());
            overhead.unwrap().note
        };
        let known = rounds(&[4.0; 6]);
        assert_eq!(verdict(&differences(&known), 20), Verdict::AboveNoise);
        assert_eq!(
            note(&known, Verdict::AboveNoise),
            "of 4.00 s; with 95 % confidence 100 to 100 ms"
        );
        let unknown = rounds(&[4.0, 4.2, 4.0, 4.2, 4.0, 4.2]);
        assert_eq!(verdict(&differences(&unknown), 6), Verdict::LostInNoise);
        assert_eq!(
            note(&unknown, Verdict::LostInNoise),
            "of 4.10 s; after 6 rounds not above the noise: -100 to 100 ms"
        );
    }
}
