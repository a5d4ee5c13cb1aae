//! What is being waited for.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How a transfer is shown.
const BAR: &str =
    "{bar:40} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// What is being waited for, on standard error while that is a terminal; nothing is shown elsewhere.
pub struct Progress(ProgressBar);

impl Progress {
    /// Of something whose end is not known: what is said of it, and for how long.
    pub fn waiting() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Of so many bytes.
    pub fn of_bytes(total: u64) -> Self {
        let bar = ProgressBar::new(total);
        // The template is ours: a test looks that it is one.
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows the text.
    pub fn show(&self, text: &str) {
        self.0
            .set_message(text.replace(photon_resource::is_hidden, " "));
    }

    /// Counts bytes.
    pub fn count(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Says how many bytes there are of how many; 0: of unknown many.
    pub fn at(&self, bytes: u64, total: u64) {
        if total > 0 {
            self.0.set_length(total);
        }
        self.0.set_position(bytes);
    }

    /// Ends it; the line is free for what follows.
    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bars_template_is_well_formed() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
