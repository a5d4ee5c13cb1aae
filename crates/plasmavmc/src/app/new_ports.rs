//! The ports that a new VM brings along. PrismNET makes them before there is a VM, with the caller's token; in between they
//! are noted, so that they go again when nothing comes of the VM:
//!
//! ```text
//!   note ──► CreatePort … ──► the VM's transaction takes the note ──► they are the VM's, and go with it
//!                │ refused, given up, or a crash
//!                └──────────► removed, then the note
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use futures::future::join_all;
use photon_catalog::{Change, Effect, commit_unrecorded};
use photon_resource::{Caller, Error, NewMeta, PortId, Time};
use uuid::Uuid;

use crate::model::{Interface, NewInterface, Plug};
use crate::prismnet::{PortRequest, Ports};
use crate::store::new_ports as notes;

/// Since a note was made: PrismNET has answered or given up by then, which its deadline of 5 s says.
const ANSWERED: Duration = Duration::from_secs(15);

/// Makes ports for VMs. Clones are the same.
#[derive(Clone)]
pub struct NewPorts {
    db: Db,
    ports: Ports,
    /// Notes of calls that go on.
    under_way: Arc<Mutex<BTreeSet<Uuid>>>,
}

/// The interfaces of a VM that is about to be made.
pub struct Made {
    pub interfaces: Vec<Interface>,
    /// Of ports that were made for it.
    pub note: Option<Note>,
}

/// Ports that are noted. When it is dropped, whoever looks for leftovers finds them.
pub struct Note {
    pub id: Uuid,
    ports: notes::NewPorts,
    of: NewPorts,
}

impl Drop for Note {
    fn drop(&mut self) {
        self.of.lock().remove(&self.id);
    }
}

impl NewPorts {
    /// Notes are in `db`.
    pub fn new(db: Db, ports: Ports) -> Self {
        Self {
            db,
            ports,
            under_way: Arc::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Uuid>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The interfaces that a VM is to have, each with its port: those that it names, and new ones.
    ///
    /// Errors: PrismNET's, about the first interface that it refuses a port for.
    pub async fn make(
        &self,
        caller: &Caller,
        meta: &NewMeta,
        network: &[NewInterface],
    ) -> Result<Made, Error> {
        let note = Uuid::new_v4();
        let names = |interface: &NewInterface| match interface.plug {
            Plug::Port(_) => None,
            Plug::New { .. } => Some(port_name(&meta.name, &interface.id, note)),
        };
        let names: Vec<String> = network.iter().filter_map(names).collect();
        if names.is_empty() {
            let interfaces = network.iter().filter_map(|interface| match interface.plug {
                Plug::Port(port_id) => Some(there(interface, port_id)),
                Plug::New { .. } => None,
            });
            return Ok(Made {
                interfaces: interfaces.collect(),
                note: None,
            });
        }
        let default = self.default_subnet(caller, meta, network).await?;
        let note = self.note(note, meta, names).await?;
        let asked = network.iter().enumerate().map(|(index, interface)| {
            let name = port_name(&meta.name, &interface.id, note.id);
            self.one(caller, meta, (index, interface), name, &default)
        });
        let made: Vec<_> = join_all(asked).await;
        let unsure = |it: &Result<Interface, Error>| {
            matches!(it, Err(Error::Unavailable(_) | Error::Internal(_)))
        };
        let unsure = made.iter().any(unsure);
        match made.into_iter().collect() {
            Ok(interfaces) => Ok(Made {
                interfaces,
                note: Some(note),
            }),
            Err(error) => {
                // Whether one was made that PrismNET did not say of is found out later.
                if !unsure {
                    self.take_back(note).await;
                }
                Err(error)
            }
        }
    }

    /// The default subnet, if an interface is to be there; else nothing.
    async fn default_subnet(
        &self,
        caller: &Caller,
        meta: &NewMeta,
        network: &[NewInterface],
    ) -> Result<String, Error> {
        let unsaid = |it: &NewInterface| matches!(it.plug, Plug::New { subnet: None, .. });
        if !network.iter().any(unsaid) {
            return Ok(String::new());
        }
        let tenant = (&meta.org_id, &meta.project_id);
        self.ports.default_subnet(caller, tenant).await
    }

    async fn note(&self, id: Uuid, meta: &NewMeta, names: Vec<String>) -> Result<Note, Error> {
        self.lock().insert(id);
        let note = Note {
            id,
            ports: notes::NewPorts {
                org_id: meta.org_id.clone(),
                project_id: meta.project_id.clone(),
                names,
                noted_at: Time::now(),
            },
            of: self.clone(),
        };
        let ports = &note.ports;
        commit_unrecorded(&self.db, &mut Noting { id, ports }).await?;
        Ok(note)
    }

    async fn one(
        &self,
        caller: &Caller,
        meta: &NewMeta,
        (index, interface): (usize, &NewInterface),
        name: String,
        default: &str,
    ) -> Result<Interface, Error> {
        let (subnet, security_groups) = match &interface.plug {
            Plug::Port(port_id) => return Ok(there(interface, *port_id)),
            Plug::New {
                subnet,
                security_groups,
            } => (subnet.as_deref().unwrap_or(default), security_groups),
        };
        let wanted = PortRequest {
            org_id: &meta.org_id,
            project_id: &meta.project_id,
            name,
            description: format!("Made with VM {}, and goes with it", meta.name),
            subnet: subnet.to_owned(),
            security_groups: security_groups.clone(),
        };
        let field = format!("spec.network[{index}]");
        Ok(Interface {
            id: interface.id.clone(),
            port_id: self.ports.create(caller, &field, wanted).await?,
            delete_with_vm: true,
        })
    }

    /// Removes the ports of a VM that was not made. What fails is done again later: see [`left`](Self::left).
    pub async fn take_back(&self, note: Note) {
        if let Err(error) = self.settle(note.id, &note.ports).await {
            tracing::warn!(%error, "ports of a VM that was not made are not removed yet");
        }
    }

    /// Notes that nobody works on any more, and of which PrismNET will make nothing.
    ///
    /// Errors: the store's.
    pub async fn left(&self) -> Result<Vec<(Uuid, notes::NewPorts)>, Error> {
        let mut noted = notes::new_ports_all(&self.db).await?;
        let now = SystemTime::now();
        let old = |noted: Time| {
            let age = now.duration_since(SystemTime::from(noted));
            // A clock that was set back says nothing: then it waits for it.
            age.is_ok_and(|age| age >= ANSWERED)
        };
        let under_way = self.lock();
        noted.retain(|(id, ports)| !under_way.contains(id) && old(ports.noted_at));
        Ok(noted)
    }

    /// Removes the ports of a note, and then it.
    ///
    /// Errors: `Unavailable`, and the store's.
    pub async fn settle(&self, id: Uuid, ports: &notes::NewPorts) -> Result<(), Error> {
        if !notes::new_ports_noted(&self.db, id).await? {
            // A VM has them after all.
            return Ok(());
        }
        let tenant = (&ports.org_id, &ports.project_id);
        for name in &ports.names {
            if let Some(port) = self.ports.find_free(tenant, name).await? {
                self.ports.delete(port).await?;
            }
        }
        commit_unrecorded(&self.db, &mut Settled { id }).await
    }
}

fn there(interface: &NewInterface, port_id: PortId) -> Interface {
    Interface {
        id: interface.id.clone(),
        port_id,
        delete_with_vm: false,
    }
}

/// What a port is called that is made for an interface of a VM: as no other port, whatever VMs are called.
fn port_name(vm: &str, interface: &str, note: Uuid) -> String {
    // A name has 63 characters; an interface's has 15 at most.
    const OF_VM: usize = 38;
    let vm: String = vm.chars().take(OF_VM).collect();
    let note = note.simple().to_string();
    format!("{vm}-{interface}-{}", &note[..8])
}

struct Noting<'a> {
    id: Uuid,
    ports: &'a notes::NewPorts,
}

#[async_trait]
impl Change for Noting<'_> {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        notes::new_ports_put(tx, self.id, self.ports)?;
        Ok(Effect::nothing(()))
    }
}

struct Settled {
    id: Uuid,
}

#[async_trait]
impl Change for Settled {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        notes::new_ports_remove(tx, self.id).await?;
        Ok(Effect::nothing(()))
    }
}

#[cfg(test)]
mod tests {
    use photon_resource::validate_resource_name;

    use super::*;

    #[test]
    fn ports_are_called_by_vm_and_interface_and_as_no_other() {
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        let name = port_name("web", "eth0", one);
        assert!(name.starts_with("web-eth0-"), "{name}");
        assert_ne!(name, port_name("web", "eth0", other));
        let longest = port_name(&"w".repeat(63), "abcdefghijklmno", one);
        assert_eq!(longest.len(), 63);
        validate_resource_name("name", &longest).unwrap();
    }
}
