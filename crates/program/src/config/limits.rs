//! The section `[limits]` of a server's settings.

use std::time::Duration;

use super::file::{LimitsSection, ShareSection};
use super::{Invalid, Limits, Share};

/// The most of anything that can be counted here.
const MOST: u64 = 1 << 20;
const LONGEST_SECONDS: u64 = 24 * 3600;

/// Puts what the file says into `limits`.
///
/// Errors: a number that is out of its range, by its key.
pub(super) fn apply(limits: &mut Limits, file: &LimitsSection) -> Result<(), Invalid> {
    count("connections", file.connections, &mut limits.connections)?;
    count(
        "connections_per_source",
        file.connections_per_source,
        &mut limits.connections_per_source,
    )?;
    number(
        "calls_per_connection",
        file.calls_per_connection,
        &mut limits.calls_per_connection,
    )?;
    count("calls", file.calls, &mut limits.calls)?;
    count("streams", file.streams, &mut limits.streams)?;
    seconds("silent_seconds", file.silent_seconds, &mut limits.silent)?;
    seconds("idle_seconds", file.idle_seconds, &mut limits.idle)?;
    let (timeout, first) = (file.call_timeout_seconds, file.first_message_seconds);
    seconds("call_timeout_seconds", timeout, &mut limits.call_timeout)?;
    seconds("first_message_seconds", first, &mut limits.first_message)?;
    number("written_kib", file.written_kib, &mut limits.written_kib)?;
    number(
        "written_kib_per_second",
        file.written_kib_per_second,
        &mut limits.written_kib_per_second,
    )?;
    share("stranger", &file.stranger, &mut limits.stranger)?;
    share("principal", &file.principal, &mut limits.principal)?;
    share("organization", &file.organization, &mut limits.organization)
}

fn share(name: &str, file: &ShareSection, share: &mut Share) -> Result<(), Invalid> {
    let key = |field: &str| format!("{name}.{field}");
    count(&key("calls"), file.calls, &mut share.calls)?;
    count(&key("streams"), file.streams, &mut share.streams)?;
    let rate = file.calls_per_second;
    number(&key("calls_per_second"), rate, &mut share.per_second)?;
    number(&key("burst"), file.burst, &mut share.burst)
}

fn checked(key: &str, given: Option<u64>, most: u64) -> Result<Option<u64>, Invalid> {
    match given {
        Some(given) if !(1..=most).contains(&given) => Err(Invalid::new(
            format!("limits.{key}"),
            given,
            format!("1 to {most}"),
        )),
        _ => Ok(given),
    }
}

fn count(key: &str, given: Option<u64>, to: &mut usize) -> Result<(), Invalid> {
    if let Some(given) = checked(key, given, MOST)? {
        *to = usize::try_from(given).unwrap_or(usize::MAX);
    }
    Ok(())
}

fn number(key: &str, given: Option<u64>, to: &mut u32) -> Result<(), Invalid> {
    if let Some(given) = checked(key, given, MOST)? {
        *to = u32::try_from(given).unwrap_or(u32::MAX);
    }
    Ok(())
}

fn seconds(key: &str, given: Option<u64>, to: &mut Duration) -> Result<(), Invalid> {
    if let Some(given) = checked(key, given, LONGEST_SECONDS)? {
        *to = Duration::from_secs(given);
    }
    Ok(())
}
