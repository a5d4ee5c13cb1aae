//! Machines, as operators see and change them.

mod token;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_api::provisioner::v1;
use photon_catalog::{Access, Change, Effect, Listing, commit, get};
use photon_reconcile::Signal;
use photon_resource::{Caller, Error, Mac, PageRequest, Scope};

use super::change::{now, put};
use crate::model::{Event, Key, MACHINES, Machine, MachineId, State, validate_host_name};
use crate::{Settings, convert, store};

/// The machines. Clones are the same.
#[derive(Clone)]
pub struct Machines {
    access: Access,
    settings: Arc<Settings>,
    /// Asks the installer and the keeper of identities for a look.
    wake: Arc<[Signal]>,
}

/// What an operator wants of a machine.
enum Wish {
    Approve {
        name: String,
        /// As it was given; empty: the one that the cluster knows, if any.
        address: String,
    },
    Reinstall {
        typed: String,
        force: bool,
    },
    Retire {
        typed: String,
        force: bool,
    },
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
            && let Some(serial) = convert::serial(text)
        {
            id = store::machine_by_key(db, &Key::Serial(serial)).await?;
        }
        match id {
            Some(id) => store::machine_get(db, id).await,
            None => Ok(None),
        }
    }

    /// One page of machines, the oldest first.
    pub async fn list(
        &self,
        caller: &Caller,
        request: &v1::ListMachinesRequest,
    ) -> Result<Listing<Machine>, Error> {
        let all = MACHINES.any(Scope::System);
        self.access
            .guard()
            .authorize(caller, &MACHINES.action("list"), &all, &[])
            .await?;
        let state = convert::state_from_wire(request.state)?;
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let wanted = |machine: &Machine| state.is_none_or(|state| machine.state == state);
        store::machine_list(self.access.db(), &page, wanted).await
    }

    /// Gives a machine its name: from here on it is installed when it netboots.
    pub async fn approve(
        &self,
        caller: &Caller,
        request: &v1::ApproveMachineRequest,
    ) -> Result<v1::ApproveMachineResponse, Error> {
        let machine = self.find(caller, "approve", &request.id).await?;
        validate_host_name(&request.name)?;
        let wish = Wish::Approve {
            name: request.name.clone(),
            address: request.address.clone(),
        };
        let call = ("approve", request.request_id.as_str(), request);
        let answer = |machine: &Machine| v1::ApproveMachineResponse {
            machine: Some(convert::machine_to_wire(machine)),
        };
        self.change(
            caller,
            call,
            machine.id,
            request.expected_revision,
            wish,
            answer,
        )
        .await
    }

    /// Installs a machine anew, under its name.
    pub async fn reinstall(
        &self,
        caller: &Caller,
        request: &v1::ReinstallMachineRequest,
    ) -> Result<v1::ReinstallMachineResponse, Error> {
        let machine = self.find(caller, "reinstall", &request.id).await?;
        let wish = Wish::Reinstall {
            typed: request.confirm_name.clone(),
            force: request.force,
        };
        let call = ("reinstall", request.request_id.as_str(), request);
        let answer = |machine: &Machine| v1::ReinstallMachineResponse {
            machine: Some(convert::machine_to_wire(machine)),
        };
        self.change(
            caller,
            call,
            machine.id,
            request.expected_revision,
            wish,
            answer,
        )
        .await
    }

    /// Takes a machine out.
    pub async fn retire(
        &self,
        caller: &Caller,
        request: &v1::RetireMachineRequest,
    ) -> Result<v1::RetireMachineResponse, Error> {
        let machine = self.find(caller, "retire", &request.id).await?;
        let wish = Wish::Retire {
            typed: request.confirm_name.clone(),
            force: request.force,
        };
        let call = ("retire", request.request_id.as_str(), request);
        let answer = |machine: &Machine| v1::RetireMachineResponse {
            machine: Some(convert::machine_to_wire(machine)),
        };
        self.change(
            caller,
            call,
            machine.id,
            request.expected_revision,
            wish,
            answer,
        )
        .await
    }

    async fn change<Req, Resp>(
        &self,
        caller: &Caller,
        (verb, request_id, request): (&str, &str, &Req),
        id: MachineId,
        expected_revision: u64,
        wish: Wish,
        answer: impl Fn(&Machine) -> Resp,
    ) -> Result<Resp, Error>
    where
        Req: prost::Message,
        Resp: prost::Message + Default,
    {
        let action = MACHINES.action(verb);
        let mutation = self.access.mutation(caller, &action, request_id, request)?;
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
            Wish::Approve { name, address } => host_address(&self.settings, name, address)?,
            Wish::Reinstall { .. } | Wish::Retire { .. } => None,
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
            Wish::Approve { name, .. } => {
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
            Wish::Reinstall { typed, force } => {
                // Whether it could be done at all is told before how to confirm it.
                after.apply(Event::Reinstall, now())?;
                let consequence = format!("this wipes the disks of '{}'", before.called());
                before.confirmed(typed, *force, &consequence)?;
            }
            Wish::Retire { typed, force } => {
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
