//! Machines, as operators see and change them.

mod token;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Access, Change, Effect, Listing, commit, get};
use photon_reconcile::Signal;
use photon_resource::{Caller, Error, Mac, PageRequest, Scope};
use photon_service::Mutation;

use super::change::{now, put};
use crate::model::{Event, Key, MACHINES, Machine, MachineId, State, serial, validate_host_name};
use crate::{Settings, store};

/// The machines. Clones are the same.
#[derive(Clone)]
pub struct Machines {
    access: Access,
    settings: Arc<Settings>,
    /// Asks the installer and the keeper of identities for a look.
    wake: Arc<[Signal]>,
}

/// Under what an operator approves a machine.
pub struct Approval {
    /// The host's name, which can be one.
    pub name: String,
    /// As it was given; empty: the one that the cluster knows, if any.
    pub address: String,
}

/// How an operator confirms what cannot be undone.
pub struct Confirmation {
    /// The machine's name, as it was typed back.
    pub typed: String,
    /// A machine in use, too.
    pub force: bool,
}

/// What an operator wants of a machine.
pub enum Wish {
    /// It gets its name: from here on it is installed when it netboots.
    Approve(Approval),
    /// It is installed anew, under its name.
    Reinstall(Confirmation),
    /// It is taken out.
    Retire(Confirmation),
}

impl Wish {
    fn verb(&self) -> &'static str {
        match self {
            Wish::Approve(_) => "approve",
            Wish::Reinstall(_) => "reinstall",
            Wish::Retire(_) => "retire",
        }
    }
}

impl Machines {
    pub fn new(access: Access, settings: Arc<Settings>, wake: Vec<Signal>) -> Self {
        Self {
            access,
            settings,
            wake: wake.into(),
        }
    }

    /// The machine that `text` names (its id, host name, UUID, MAC address or serial number), if the caller may do
    /// `verb` with it.
    ///
    /// Errors: as [`Access::reveal`]: whoever may not learns nothing of what there is.
    pub async fn find(&self, caller: &Caller, verb: &str, text: &str) -> Result<Machine, Error> {
        let found = self.look_up(text.trim()).await?;
        self.access
            .reveal(caller, verb, found, Scope::System, text)
            .await
    }

    async fn look_up(&self, text: &str) -> Result<Option<Machine>, Error> {
        let db = self.access.db();
        let mut id: Option<MachineId> = None;
        if let Ok(uuid) = uuid::Uuid::try_parse(text) {
            let own: MachineId = uuid.to_string().parse()?;
            if let Some(machine) = store::machine_get(db, own).await? {
                return Ok(Some(machine));
            }
            id = store::machine_by_key(db, &Key::Uuid(uuid)).await?;
        }
        if id.is_none() && validate_host_name(text).is_ok() {
            id = store::machine_by_name(db, text).await?;
        }
        if id.is_none()
            && let Ok(mac) = text.parse::<Mac>()
        {
            id = store::machine_by_key(db, &Key::Mac(mac)).await?;
        }
        if id.is_none()
            && let Some(serial) = serial(text)
        {
            id = store::machine_by_key(db, &Key::Serial(serial)).await?;
        }
        match id {
            Some(id) => store::machine_get(db, id).await,
            None => Ok(None),
        }
    }

    /// One page of machines, the oldest first; with a state, only those in it.
    pub async fn list(
        &self,
        page: &PageRequest,
        state: Option<State>,
    ) -> Result<Listing<Machine>, Error> {
        let wanted = |machine: &Machine| state.is_none_or(|state| machine.state == state);
        store::machine_list(self.access.db(), page, wanted).await
    }

    /// Does to a machine what an operator wants. `expected_revision` 0: any.
    pub async fn change<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: MachineId,
        expected_revision: u64,
        wish: Wish,
        answer: impl Fn(&Machine) -> A,
    ) -> Result<A, Error> {
        let action = MACHINES.action(wish.verb());
        let mut change = Wanted {
            db: self.access.db().clone(),
            settings: self.settings.clone(),
            id,
            expected_revision,
            wish,
        };
        let (answer, changed) = commit(self.access.db(), mutation, &mut change, answer).await?;
        if let Some(machine) = changed {
            tracing::info!(machine = %machine.id, name = machine.called(), state = %machine.state, action, "machine changed");
            self.wake.iter().for_each(Signal::notify);
        }
        Ok(answer)
    }
}

/// What an operator wants of one machine.
struct Wanted {
    db: Db,
    settings: Arc<Settings>,
    id: MachineId,
    /// 0: any.
    expected_revision: u64,
    wish: Wish,
}

#[async_trait]
impl Change for Wanted {
    type Value = Machine;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Machine>, Error> {
        // Here and not before: a call that was answered is answered the same when the cluster has changed since.
        let address = match &self.wish {
            Wish::Approve(Approval { name, address }) => {
                host_address(&self.settings, name, address)?
            }
            Wish::Reinstall(_) | Wish::Retire(_) => None,
        };
        let before: Machine = get(tx, &self.id).await?;
        if self.expected_revision != 0 && self.expected_revision != before.revision {
            return Err(Error::Conflict {
                kind: MACHINES.noun,
                id: self.id.to_string(),
                expected: self.expected_revision,
                actual: before.revision,
            });
        }
        let mut after = before.clone();
        match &self.wish {
            Wish::Approve(Approval { name, .. }) => {
                let same = before.name.as_ref() == Some(name) && before.address == address;
                if same && before.state == State::Approved {
                    return Ok(Effect::nothing(after));
                }
                after.apply(Event::Approve, now())?;
                if store::machine_by_name_read(tx, name).await?.is_some() {
                    return Err(Error::already_exists("host", name));
                }
                after.name = Some(name.clone());
                after.address = address;
            }
            Wish::Reinstall(Confirmation { typed, force }) => {
                // Whether it could be done at all is told before how to confirm it.
                after.apply(Event::Reinstall, now())?;
                let consequence = format!("this wipes the disks of '{}'", before.called());
                before.confirmed(typed, *force, &consequence)?;
            }
            Wish::Retire(Confirmation { typed, force }) => {
                after.apply(Event::Retire, now())?;
                let consequence = format!("this takes '{}' out of the cluster", before.called());
                before.confirmed(typed, *force, &consequence)?;
                after.conflicts.clear();
            }
        }
        if let Some(token) = &before.token {
            store::token_delete(tx, token);
        }
        store::certificates_delete(&self.db, tx, self.id).await?;
        put(tx, Some(&before), after).await
    }
}

/// The address that the host `name` is to have, if one is known or given.
fn host_address(settings: &Settings, name: &str, given: &str) -> Result<Option<IpAddr>, Error> {
    if name == settings.node_name() {
        return Err(Error::already_exists("host", name));
    }
    let given: Option<IpAddr> = match given {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|_| Error::invalid("address", text, "an IPv4 or IPv6 address, or none"))?,
        ),
    };
    let hosts = &settings.hosts;
    if hosts.is_empty() {
        return Ok(given);
    }
    let Some(known) = hosts.get(name).copied() else {
        let names: Vec<&str> = hosts.keys().map(String::as_str).collect();
        return Err(Error::FailedPrecondition(format!(
            "the cluster has no host '{name}', it has {}: add it to the flake first",
            names.join(", ")
        )));
    };
    match given {
        Some(given) if given != known => Err(Error::invalid(
            "address",
            given,
            format!("{known}, which is the address of '{name}' in the cluster, or none"),
        )),
        _ => Ok(Some(known)),
    }
}
