//! The connections to running guests: one for control and events, one for the console.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use photon_reconcile::{Backoff, Signal};
use photon_resource::VmId;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::layout::Layout;
use crate::hypervisor::console::{self, Console};
use crate::hypervisor::{Control, ControlError, GuestEvent, Hypervisor};

/// Delays between attempts to connect: the sockets are there a few milliseconds after the process.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MOST: Duration = Duration::from_secs(2);

type ControlSlot = watch::Sender<Option<Arc<dyn Control>>>;

/// All running guests of this host. Clones share them.
#[derive(Clone)]
pub struct Guests {
    hypervisor: Arc<dyn Hypervisor>,
    layout: Layout,
    signal: Signal,
    guests: Arc<Mutex<BTreeMap<VmId, Guest>>>,
}

struct Guest {
    started_at: Option<SystemTime>,
    control: ControlSlot,
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
    pub fn follow(&self, running: &BTreeMap<VmId, Option<SystemTime>>) {
        let mut guests = self.lock();
        guests.retain(|id, guest| running.get(id) == Some(&guest.started_at));
        for (id, started_at) in running {
            guests
                .entry(*id)
                .or_insert_with(|| self.connect(*id, *started_at));
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

    fn connect(&self, id: VmId, started_at: Option<SystemTime>) -> Guest {
        let stop = CancellationToken::new();
        let control = ControlSlot::new(None);
        let console = Arc::new(Console::new(self.layout.console(id)));
        tokio::spawn(until(
            stop.clone(),
            self.clone().follow_events(id, control.clone()),
        ));
        tokio::spawn(until(
            stop.clone(),
            console::attach(
                Arc::clone(&console),
                self.hypervisor.console(&self.layout.runtime(id)),
                id.unix_uid(),
                Backoff::new(RETRY_FIRST, RETRY_MOST),
            ),
        ));
        Guest {
            started_at,
            control,
            console,
            _tasks: stop.drop_guard(),
        }
    }

    async fn follow_events(self, id: VmId, slot: ControlSlot) {
        let runtime = self.layout.runtime(id);
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        loop {
            match self.hypervisor.control(&runtime, id.unix_uid()).await {
                Ok(control) => {
                    backoff.succeeded();
                    let control: Arc<dyn Control> = Arc::from(control);
                    slot.send_replace(Some(Arc::clone(&control)));
                    while let Some(event) = control.event().await {
                        note(id, &event);
                        self.signal.notify();
                    }
                    slot.send_replace(None);
                }
                Err(error @ ControlError::Connect { .. }) => {
                    tracing::trace!(vm = %id, %error, "not connected yet");
                }
                Err(error) => tracing::warn!(vm = %id, %error, "no control of the guest"),
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VmId, Guest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(id: VmId, event: &GuestEvent) {
    match event {
        GuestEvent::Stopped | GuestEvent::Panicked => {
            tracing::warn!(vm = %id, ?event, "guest");
        }
        _ => tracing::info!(vm = %id, ?event, "guest"),
    }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}
