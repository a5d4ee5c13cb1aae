//! Tunnels: an owner's stream on one side, a stream of the VM's host for it alone on the other. A tunnel has none of the
//! console's streams, so each waits for its own reader only, and nothing is lost.
//!
//! ```text
//!   Tunnel(vm, port) ──► waiting, by number ──► ServeConsoles(node): "connect to this, as number n"
//!   Tunnel(vm, port) ◄════════ data ══════════► ServeTunnel(node, n)
//! ```

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use photon_resource::{Error, PortId, VmId};
use tokio::sync::{mpsc, oneshot};

use super::{Asked, ConsoleHub};
use crate::model::Vm;
use crate::model::phase::Phase;

/// Messages that wait on each side, of at most 64 KiB each.
const WAITING: usize = 4;
/// Tunnels of one VM, and of all VMs of a host.
const OF_VM: usize = 16;
const OF_HOST: usize = 256;
/// How long a host may take to connect: it gives its guest 10 s.
const CONNECTS: Duration = Duration::from_secs(15);

/// What a host is to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// By which the guest is reached.
    pub port_id: PortId,
    pub address: Ipv4Addr,
    pub port: u16,
}

/// One end of a tunnel.
pub struct End {
    /// What the other end has sent; ends when it does.
    pub received: mpsc::Receiver<Vec<u8>>,
    /// For the other end.
    pub sent: mpsc::Sender<Vec<u8>>,
    /// For as long as it is kept, it counts.
    pub place: Arc<Place>,
}

/// Opens tunnels for owners, and finds them for hosts. Clones are the same.
#[derive(Clone)]
pub struct Tunnels {
    hub: ConsoleHub,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// Those that their hosts have not served yet.
    waiting: HashMap<u64, Waiting>,
    of_vm: HashMap<VmId, usize>,
    of_host: HashMap<String, usize>,
}

struct Waiting {
    node: String,
    /// The host's end, or why there is no connection.
    served: oneshot::Sender<Result<(), String>>,
    end: End,
}

/// A tunnel as it counts against what a VM and a host may have.
pub struct Place {
    known: Arc<Mutex<Known>>,
    vm: VmId,
    node: String,
}

/// Takes a number away that nobody has served.
struct Forgotten<'a> {
    tunnels: &'a Tunnels,
    session: u64,
}

impl Tunnels {
    pub fn new(hub: ConsoleHub) -> Self {
        Self {
            hub,
            known: Arc::default(),
        }
    }

    /// By which hosts are asked, for consoles too.
    pub fn hub(&self) -> &ConsoleHub {
        &self.hub
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to a port of a VM's guest: the owner's end.
    ///
    /// Errors: `FailedPrecondition` when it does not run or has no address; `ResourceExhausted` beyond [`OF_VM`] or
    /// [`OF_HOST`]; `Unavailable` when its host is not connected or its guest does not accept.
    pub async fn open(&self, vm: &Vm, port: u16) -> Result<End, Error> {
        let target = target(vm, port)?;
        let place = Arc::new(self.place(vm)?);
        let (to_guest, from_owner) = mpsc::channel(WAITING);
        let (to_owner, from_guest) = mpsc::channel(WAITING);
        let (served, answer) = oneshot::channel();
        let session = self.hub.next_session();
        let waiting = Waiting {
            node: vm.node.clone(),
            served,
            end: End {
                received: from_owner,
                sent: to_owner,
                place: place.clone(),
            },
        };
        self.known().waiting.insert(session, waiting);
        let _forgotten = Forgotten {
            tunnels: self,
            session,
        };
        self.hub
            .ask(&vm.node, session, Asked::Tunnel(target))
            .await?;
        match tokio::time::timeout(CONNECTS, answer).await {
            Ok(Ok(Ok(()))) => Ok(End {
                received: from_guest,
                sent: to_guest,
                place,
            }),
            Ok(Ok(Err(reason))) => Err(Error::Unavailable(reason)),
            // The host's stream ended before it said anything, or it is of a release before tunnels.
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable(format!(
                "host '{}' has opened no tunnel to VM '{}' within {} s: its agent may be of an earlier release",
                vm.node,
                vm.meta.name,
                CONNECTS.as_secs()
            ))),
        }
    }

    fn place(&self, vm: &Vm) -> Result<Place, Error> {
        let mut known = self.known();
        let exhausted = |what: &str, count: usize| {
            Error::ResourceExhausted(format!(
                "{what} has {count} tunnels open, which is all it may have: close one"
            ))
        };
        if known.of_vm.get(&vm.id).copied().unwrap_or_default() >= OF_VM {
            return Err(exhausted(&format!("VM '{}'", vm.meta.name), OF_VM));
        }
        if known.of_host.get(&vm.node).copied().unwrap_or_default() >= OF_HOST {
            return Err(exhausted("the VM's host", OF_HOST));
        }
        *known.of_vm.entry(vm.id).or_default() += 1;
        *known.of_host.entry(vm.node.clone()).or_default() += 1;
        Ok(Place {
            known: self.known.clone(),
            vm: vm.id,
            node: vm.node.clone(),
        })
    }

    /// A host serves what it was asked for: its end, or `None` when nobody waits for it any more. With a refusal its owner is
    /// told that instead.
    pub fn serve(&self, node: &str, session: u64, refusal: String) -> Option<End> {
        let mut known = self.known();
        let own = known
            .waiting
            .get(&session)
            .is_some_and(|it| it.node == node);
        let waiting = own.then(|| known.waiting.remove(&session)).flatten()?;
        // What follows drops places, which takes the lock.
        std::mem::drop(known);
        let refused = !refusal.is_empty();
        let told = if refused { Err(refusal) } else { Ok(()) };
        let heard = waiting.served.send(told).is_ok();
        (heard && !refused).then_some(waiting.end)
    }
}

/// The first of a VM's interfaces by which its guest can be reached.
fn target(vm: &Vm, port: u16) -> Result<Target, Error> {
    let name = &vm.meta.name;
    if vm.status.phase != Phase::Running {
        return Err(Error::FailedPrecondition(format!(
            "VM '{name}' is {}: a tunnel leads to one that is RUNNING",
            vm.status.phase.as_str()
        )));
    }
    let reached = vm.ports.iter().find_map(|of_vm| {
        let address = &of_vm.addressing.as_ref()?.address;
        let address = address.split('/').next()?.parse().ok()?;
        Some(Target {
            port_id: of_vm.port_id,
            address,
            port,
        })
    });
    reached.ok_or_else(|| {
        Error::FailedPrecondition(format!(
            "VM '{name}' has no interface with an IPv4 address, and a tunnel leads to nothing else"
        ))
    })
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { of_vm, of_host, .. } = &mut *known;
        if let Some(count) = of_vm.get_mut(&self.vm) {
            *count -= 1;
            if *count == 0 {
                of_vm.remove(&self.vm);
            }
        }
        if let Some(count) = of_host.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                of_host.remove(&self.node);
            }
        }
    }
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        let waiting = self.tunnels.known().waiting.remove(&self.session);
        // Outside the lock: its place takes it.
        std::mem::drop(waiting);
    }
}
