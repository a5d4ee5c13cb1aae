//! What is being done, told to whoever waits; results go to standard output and not through here.

use std::time::Duration;

/// Prints one line of what is being done, to standard error: standard output is for results.
pub fn say(line: impl AsRef<str>) {
    eprintln!("{}", line.as_ref());
}

/// A duration as people say it: `0.4 s`, `12.3 s`, `4 min 15 s`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = duration.as_secs();
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(human(Duration::from_millis(440)), "0.4 s");
        assert_eq!(human(Duration::from_secs(255)), "4 min 15 s");
    }
}
