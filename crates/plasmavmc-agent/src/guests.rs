//! The connections to running guests: one for control and events, one for the console.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::statvfs;
use photon_host::durable;
use photon_reconcile::{Backoff, Signal};
use photon_resource::VmId;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::layout::Layout;
use crate::hypervisor::console::{self, Console};
use crate::hypervisor::{Control, ControlError, GuestEvent, Hypervisor};
use crate::plan::Run;

#[cfg(test)]
mod tests;

/// Delays between attempts to connect: the sockets are there a few milliseconds after the process.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MOST: Duration = Duration::from_secs(2);
/// A guest that stands still for want of room is looked at this often.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(5);
/// It goes on when its disks' file system has this much for it, in bytes: with less it would stop again at once.
const ROOM: u64 = 16 << 20;
/// What a process said last is read for as long as this after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

type ControlSlot = watch::Sender<Option<Arc<dyn Control>>>;

/// All running guests of this host. Clones share them.
#[derive(Clone)]
pub struct Guests {
    hypervisor: Arc<dyn Hypervisor>,
    layout: Layout,
    signal: Signal,
    guests: Arc<Mutex<BTreeMap<VmId, Guest>>>,
}

/// Which run of a VM's process it is, and what that can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    pub started_at: Option<SystemTime>,
    pub keeps_output: bool,
}

impl Running {
    /// Of a run.
    pub fn of(run: &Run) -> Self {
        Self {
            started_at: run.started_at,
            keeps_output: run.keeps_output,
        }
    }
}

struct Guest {
    running: Running,
    control: ControlSlot,
    out_of_room: Arc<AtomicBool>,
    console: Arc<Console>,
    /// Ends the connections when the guest is forgotten.
    _tasks: DropGuard,
}

impl Guests {
    /// None yet. `signal` is given at each event of a guest.
    pub fn new(hypervisor: Arc<dyn Hypervisor>, layout: Layout, signal: Signal) -> Self {
        Self {
            hypervisor,
            layout,
            signal,
            guests: Arc::default(),
        }
    }

    /// Connects to what runs now and forgets what does not any more. A VM that was started again meanwhile
    /// counts as another.
    pub fn follow(&self, running: &BTreeMap<VmId, Running>) {
        let mut guests = self.lock();
        guests.retain(|id, guest| running.get(id) == Some(&guest.running));
        for (id, running) in running {
            guests
                .entry(*id)
                .or_insert_with(|| self.connect(*id, *running));
        }
    }

    /// The console of a running guest.
    pub fn console(&self, id: VmId) -> Option<Arc<Console>> {
        Some(Arc::clone(&self.lock().get(&id)?.console))
    }

    /// Presses the reset button of a running guest.
    ///
    /// Errors: there is no connection to it (yet), or it refuses.
    pub async fn reset(&self, id: VmId) -> Result<(), ControlError> {
        let control = self
            .lock()
            .get(&id)
            .and_then(|guest| guest.control.borrow().clone());
        control.ok_or(ControlError::Closed)?.reset().await
    }

    /// Whether a running guest stands still because its host has no room for what it writes.
    pub fn is_out_of_room(&self, id: VmId) -> bool {
        let guests = self.lock();
        guests
            .get(&id)
            .is_some_and(|guest| guest.out_of_room.load(Ordering::Relaxed))
    }

    fn connect(&self, id: VmId, running: Running) -> Guest {
        let stop = CancellationToken::new();
        let control = ControlSlot::new(None);
        let console = Arc::new(Console::new(self.layout.console(id)));
        let out_of_room = Arc::new(AtomicBool::new(false));
        let follower = Follower {
            guests: self.clone(),
            id,
            started_at: running.started_at,
            slot: control.clone(),
            out_of_room: Arc::clone(&out_of_room),
            stop: stop.clone(),
        };
        // That the guest panicked is said with the last that its process says, and systemd may tell of the end first.
        tokio::spawn(until(stop.clone(), follower.follow(), LAST_WORDS));
        let socket = self.hypervisor.console(&self.layout.runtime(id));
        let (line, uid) = (Arc::clone(&console), id.unix_uid());
        let backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        if running.keeps_output {
            let output = control.subscribe();
            let look = console::look(line, output, socket, uid, backoff);
            tokio::spawn(until(stop.clone(), look, Duration::ZERO));
        } else {
            let attach = console::attach(line, socket, uid, backoff);
            tokio::spawn(until(stop.clone(), attach, Duration::ZERO));
        }
        Guest {
            running,
            control,
            out_of_room,
            console,
            _tasks: stop.drop_guard(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VmId, Guest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows what one run of a guest tells.
struct Follower {
    guests: Guests,
    id: VmId,
    started_at: Option<SystemTime>,
    slot: ControlSlot,
    out_of_room: Arc<AtomicBool>,
    /// The run has ended.
    stop: CancellationToken,
}

impl Follower {
    async fn follow(self) {
        let id = self.id;
        let (layout, hypervisor) = (&self.guests.layout, &self.guests.hypervisor);
        let runtime = layout.runtime(id);
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        // The socket of a run that has ended is that of the next one.
        while !self.stop.is_cancelled() {
            match hypervisor.control(&runtime, id.unix_uid()).await {
                Ok(control) => {
                    backoff.succeeded();
                    let control: Arc<dyn Control> = Arc::from(control);
                    self.slot.send_replace(Some(Arc::clone(&control)));
                    self.listen(&*control).await;
                    self.slot.send_replace(None);
                }
                Err(error @ ControlError::Connect { .. }) => {
                    tracing::trace!(vm = %id, %error, "not connected yet");
                }
                Err(error) => tracing::warn!(vm = %id, %error, "no control of the guest"),
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    /// Until the connection ends.
    async fn listen(&self, control: &dyn Control) {
        // It may stand still since before we were here.
        self.look(control).await;
        loop {
            let event = if self.out_of_room.load(Ordering::Relaxed) {
                match tokio::time::timeout(LOOK_FOR_ROOM, control.event()).await {
                    Ok(event) => event,
                    Err(_) => {
                        self.go_on(control).await;
                        continue;
                    }
                }
            } else {
                control.event().await
            };
            let Some(event) = event else { return };
            self.note(&event);
            if matches!(event, GuestEvent::Stopped | GuestEvent::Resumed) {
                self.look(control).await;
            }
            self.guests.signal.notify();
        }
    }

    async fn look(&self, control: &dyn Control) {
        match control.is_out_of_room().await {
            Ok(now) => {
                if self.out_of_room.swap(now, Ordering::Relaxed) != now {
                    self.guests.signal.notify();
                }
            }
            Err(error) => tracing::warn!(vm = %self.id, %error, "the guest's state is not known"),
        }
    }

    async fn go_on(&self, control: &dyn Control) {
        let directory = self.guests.layout.vm(self.id);
        match free_bytes(&directory) {
            Ok(free) if free < ROOM => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(vm = %self.id, %error, directory = %directory.display(), "free space is not known");
                return;
            }
        }
        if let Err(error) = control.resume().await {
            tracing::warn!(vm = %self.id, %error, "the guest does not go on");
        }
        self.look(control).await;
    }

    fn note(&self, event: &GuestEvent) {
        let id = self.id;
        match event {
            GuestEvent::Stopped => tracing::warn!(vm = %id, ?event, "guest"),
            GuestEvent::Panicked => {
                tracing::warn!(vm = %id, ?event, "guest");
                let run = Run::name(self.started_at);
                let path = self.guests.layout.panicked(id);
                if let Err(error) = durable::write_volatile(&path, run.as_bytes(), 0o600) {
                    tracing::warn!(vm = %id, %error, "the guest's panic is not noted");
                }
            }
            _ => tracing::info!(vm = %id, ?event, "guest"),
        }
    }
}

/// What a VM may still write to the file system of this directory, in bytes.
fn free_bytes(directory: &Path) -> nix::Result<u64> {
    let about = statvfs(directory)?;
    Ok(about.blocks_available() * about.fragment_size())
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>, grace: Duration) {
    let ended = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        () = ended => {}
        () = work => {}
    }
}
