//! What runs at this moment, shown by one thread: on a terminal a line that is written anew every second, elsewhere a
//! line for each step every half minute.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::share::Share;
use super::{human, tail};

/// What a terminal has at least, less the cursor.
const WIDTH: usize = 79;

/// A step, as far as it is shown.
pub struct State {
    name: String,
    begun: Instant,
    share: Mutex<Option<Share>>,
}

impl State {
    pub fn new(name: impl Into<String>) -> Self {
        State {
            name: name.into(),
            begun: Instant::now(),
            share: Mutex::new(None),
        }
    }

    pub fn set(&self, share: Share) {
        *self.lock() = Some(share);
    }

    pub fn update(&self, change: impl FnOnce(&mut Share)) {
        if let Some(share) = &mut *self.lock() {
            change(share);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Share>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is shown, and the log whose last line is shown with it.
type Entry = (Arc<State>, Option<PathBuf>);

static SHOWN: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

fn shown() -> MutexGuard<'static, Vec<Entry>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a step off again when it is dropped.
pub struct Shown(Arc<State>);

/// Shows a step until what is returned is dropped.
pub fn show(state: &Arc<State>, log: Option<&Path>) -> Shown {
    let mut entries = shown();
    entries.push((state.clone(), log.map(Path::to_owned)));
    // It ends with the last step.
    if entries.len() == 1 {
        std::thread::spawn(keep_company);
    }
    Shown(state.clone())
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut entries = shown();
        clear(&entries);
        if let Some(at) = entries
            .iter()
            .position(|(state, _)| Arc::ptr_eq(state, &self.0))
        {
            entries.remove(at);
        }
        CHANGED.notify_all();
    }
}

/// Does what prints, on a line of its own.
pub fn between(print: impl FnOnce()) {
    let entries = shown();
    clear(&entries);
    print();
}

/// Set when another program writes to the terminal as it likes.
static BESIDE_OTHERS: AtomicBool = AtomicBool::new(false);

/// From now on whole lines are written and none is taken back: another program has the terminal's last line.
pub fn beside_others() {
    BESIDE_OTHERS.store(true, Ordering::Relaxed);
}

fn terminal() -> bool {
    !BESIDE_OTHERS.load(Ordering::Relaxed) && std::io::stderr().is_terminal()
}

fn clear(entries: &[Entry]) {
    if !entries.is_empty() && terminal() {
        eprint!("\r\x1b[K");
    }
}

fn keep_company() {
    let terminal = terminal();
    let period = Duration::from_secs(if terminal { 1 } else { 30 });
    let mut entries = shown();
    let mut due = Instant::now() + period;
    while !entries.is_empty() {
        let now = Instant::now();
        if now < due {
            let waited = CHANGED.wait_timeout(entries, due - now);
            entries = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        due = now + period;
        if terminal {
            let all: Vec<String> = entries.iter().map(short).collect();
            let line: String = all.join(" | ").chars().take(WIDTH).collect();
            eprint!("\r\x1b[K{line}");
            // Nobody is harmed when a progress line is lost.
            let _ = std::io::stderr().flush();
        } else {
            for entry in &*entries {
                photon_e2e::progress::say(format!("    {}", long(entry)));
            }
        }
    }
}

fn short((state, _): &Entry) -> String {
    let so_far = human(state.begun.elapsed());
    match &*state.lock() {
        Some(share) => format!("{}: {}", state.name, share.short()),
        None => format!("{}: {so_far}", state.name),
    }
}

fn long((state, log): &Entry) -> String {
    let so_far = human(state.begun.elapsed());
    match (&*state.lock(), log) {
        (Some(share), _) => format!("{so_far:>12}  {}: {}", state.name, share.long()),
        (None, Some(log)) => {
            let last: String = tail(log, 1).trim().chars().take(60).collect();
            format!("{so_far:>12}  {}: {last}", state.name)
        }
        (None, None) => format!("{so_far:>12}  {}", state.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_shown_with_what_is_known_of_it() {
        let state = Arc::new(State::new("kernel"));
        let entry = (state.clone(), None);
        assert_eq!(short(&entry), "kernel: 0.0 s");
        state.set(Share::begin(200, "objects"));
        state.update(|share| share.done = 50);
        assert_eq!(short(&entry), "kernel: 25 %");
        assert!(long(&entry).ends_with("0.0 s  kernel: 25 % (50 of 200 objects)"));
    }
}
