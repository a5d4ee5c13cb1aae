//! The connections to running guests: one for control and events, one for the console.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use photon_host::durable;
use photon_program::room;
use photon_reconcile::{Backoff, Signal};
use photon_resource::VmId;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::layout::Layout;
use crate::hypervisor::console::{self, Console};
use crate::hypervisor::{
    self, Accelerator, Control, ControlError, GuestEvent, Hypervisor, Nic, Plugs,
};
use crate::plan::{Attempt, Held, Interfaces, Run};

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

/// An interface that could not be plugged, or that a guest does not let go of, is tried again after this.
const PLUG_AGAIN: Duration = Duration::from_secs(10);

type ControlSlot = watch::Sender<Option<Arc<dyn Control>>>;
/// A connection to a guest, and what is known of its interfaces.
type Connected = (Arc<dyn Control>, Arc<Mutex<Plugging>>);

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
    interfaces: Arc<Mutex<Plugging>>,
    /// Ends the connections when the guest is forgotten.
    _tasks: DropGuard,
}

/// What is known of a guest's interfaces.
#[derive(Default)]
struct Plugging {
    /// `None`: not yet.
    plugs: Option<Plugs>,
    /// By TAP: when a change was last tried, and why that did not work.
    tried: BTreeMap<String, (Instant, Option<String>)>,
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
        let (control, _) = self.connected(id)?;
        control.reset().await
    }

    /// The connection to a running guest, and what is known of its interfaces.
    fn connected(&self, id: VmId) -> Result<Connected, ControlError> {
        let guests = self.lock();
        let guest = guests.get(&id).ok_or(ControlError::Closed)?;
        let control = guest.control.borrow().clone();
        let control = control.ok_or(ControlError::Closed)?;
        Ok((control, Arc::clone(&guest.interfaces)))
    }

    /// The interfaces of a running guest; `None`: they are not known (yet).
    pub fn interfaces(&self, id: VmId) -> Option<Interfaces> {
        let guests = self.lock();
        let plugging = plugging(&guests.get(&id)?.interfaces);
        let recent = plugging
            .tried
            .iter()
            .filter(|(_, (at, _))| at.elapsed() < PLUG_AGAIN);
        let plugs = plugging.plugs.as_ref()?;
        let held = plugs.held.iter().map(|(tap, held)| {
            let held = match held {
                hypervisor::Held::Plugged => Held::Plugged,
                hypervisor::Held::Fixed => Held::Fixed,
                hypervisor::Held::Bare => Held::Bare,
            };
            (tap.clone(), held)
        });
        Some(Interfaces {
            held: held.collect(),
            free: plugs.free.len(),
            has_places: plugs.has_places,
            tried: recent
                .map(|(tap, (_, error))| {
                    let attempt = match error {
                        None => Attempt::Asked,
                        Some(reason) => Attempt::Failed(reason.clone()),
                    };
                    (tap.clone(), attempt)
                })
                .collect(),
        })
    }

    /// Plugs an interface into a running guest. That it did not work is known by [`interfaces`](Self::interfaces).
    pub async fn plug(&self, id: VmId, nic: &Nic, accelerator: Accelerator) {
        let plugged = async {
            let (control, _) = self.connected(id)?;
            let plugs = control.plugs().await?;
            let place = plugs.free.first().cloned().unwrap_or_default();
            control.plug(nic, accelerator, &place).await
        };
        let plugged = plugged.await;
        self.tried(id, &nic.tap, plugged).await;
    }

    /// Goes a step towards taking an interface out of a running guest. That it did not work is known as for
    /// [`plug`](Self::plug).
    pub async fn unplug(&self, id: VmId, tap: &str) {
        let asked = async {
            let (control, _) = self.connected(id)?;
            control.unplug(tap).await
        };
        let asked = asked.await;
        self.tried(id, tap, asked).await;
    }

    /// Notes what came of it, and looks at what there is now.
    async fn tried(&self, id: VmId, tap: &str, result: Result<(), ControlError>) {
        let Ok((control, interfaces)) = self.connected(id) else {
            return;
        };
        if let Err(error) = &result {
            tracing::warn!(vm = %id, tap, %error, "an interface can't be plugged or unplugged");
        }
        let tried = (Instant::now(), result.err().map(|error| error.to_string()));
        plugging(&interfaces).tried.insert(tap.to_owned(), tried);
        look_at_interfaces(id, &*control, &interfaces).await;
        let signal = self.signal.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PLUG_AGAIN).await;
            signal.notify();
        });
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
        let interfaces = Arc::default();
        let follower = Follower {
            guests: self.clone(),
            id,
            started_at: running.started_at,
            slot: control.clone(),
            out_of_room: Arc::clone(&out_of_room),
            interfaces: Arc::clone(&interfaces),
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
            interfaces,
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
    interfaces: Arc<Mutex<Plugging>>,
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
        look_at_interfaces(self.id, control, &self.interfaces).await;
        self.guests.signal.notify();
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
            if event == GuestEvent::Unplugged {
                look_at_interfaces(self.id, control, &self.interfaces).await;
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
        match room::left(&directory) {
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

fn plugging(interfaces: &Mutex<Plugging>) -> MutexGuard<'_, Plugging> {
    interfaces.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is not known is not changed, and what is there stays: the next look may tell.
async fn look_at_interfaces(id: VmId, control: &dyn Control, interfaces: &Mutex<Plugging>) {
    let plugs = match control.plugs().await {
        Ok(plugs) => plugs,
        Err(error) => {
            tracing::warn!(vm = %id, %error, "the guest's interfaces are not known");
            return;
        }
    };
    let mut known = plugging(interfaces);
    let before = known.plugs.replace(plugs.clone()).unwrap_or_default();
    // What was tried has had its effect: the next step needs no patience.
    known
        .tried
        .retain(|tap, (_, error)| error.is_some() || before.held.get(tap) == plugs.held.get(tap));
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
