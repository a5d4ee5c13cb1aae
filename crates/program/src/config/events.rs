//! The section `[events]` of a server's settings.

use super::file::EventsSection;
use super::{Invalid, KeptEvents};

/// A century.
const MOST_DAYS: u64 = 36_500;

/// Puts what the file says into `events`. 0 is for all.
///
/// Errors: a number that is out of its range, by its key.
pub(super) fn apply(events: &mut KeptEvents, file: &EventsSection) -> Result<(), Invalid> {
    if let Some(days) = file.days {
        let least = u64::from(KeptEvents::LEAST_DAYS);
        if days != 0 && !(least..=MOST_DAYS).contains(&days) {
            let accepted =
                format!("0 for all, or {least} to {MOST_DAYS}: younger events are never cut off");
            return Err(Invalid::new("events.days", days, accepted));
        }
        events.days = u32::try_from(days).ok().filter(|days| *days > 0);
    }
    if let Some(most) = file.most {
        if most != 0 && most < KeptEvents::LEAST {
            let accepted = format!("0 for any number, or at least {}", KeptEvents::LEAST);
            return Err(Invalid::new("events.most", most, accepted));
        }
        events.most = Some(most).filter(|most| *most > 0);
    }
    Ok(())
}
