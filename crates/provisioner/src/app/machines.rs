//! Machines, as operators see and change them.

mod token;

use std::net::IpAddr;
use std::sync::Arc;

use flaredb::{Db, Transaction};
use photon_api::provisioner::v1;
use photon_reconcile::Signal;
use photon_resource::{Caller, Error, Mac, Page, PageRequest, ResourceName, Scope};
use photon_service::{Guard, Mutations};

use super::change::{ATTEMPTS, now};
use crate::model::{Event, Key, Machine, MachineId, State, validate_host_name};
use crate::{Settings, convert, store};

/// The machines. Clones are the same.
#[derive(Clone)]
pub struct Machines {
    db: Db,
    guard: Guard,
    mutations: Mutations,
    settings: Arc<Settings>,
    /// Asks the installer and the keeper of identities for a look.
    wake: Arc<[Signal]>,
}

/// What an operator wants of a machine.
enum Wish {
    Approve {
        name: String,
        address: Option<IpAddr>,
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
    pub fn new(
        db: Db,
        guard: Guard,
        mutations: Mutations,
        settings: Arc<Settings>,
        wake: Vec<Signal>,
    ) -> Self {
        Self {
            db,
            guard,
            mutations,
            settings,
            wake: wake.into(),
        }
    }

    /// The machine that `text` names (its id, host name, UUID, MAC address or serial number), if the caller may do
    /// `action` on it.
    ///
    /// Errors: as [`Guard::authorize`], and `NotFound`.
    pub async fn find(&self, caller: &Caller, action: &str, text: &str) -> Result<Machine, Error> {
        let found = self.look_up(text.trim()).await?;
        let resource = match &found {
            Some(machine) => machine.resource_name(),
            None => ResourceName::any(Scope::System, Machine::KIND),
        };
        let name = found.as_ref().and_then(|it| it.name.clone());
        let name = name.unwrap_or_default();
        let attributes = [("name", name.as_str())];
        self.guard
            .authorize(caller, action, &resource, &attributes)
            .await?;
        found.ok_or_else(|| Error::not_found(Machine::NOUN, text))
    }

    async fn look_up(&self, text: &str) -> Result<Option<Machine>, Error> {
        let mut id: Option<MachineId> = None;
        if let Ok(uuid) = uuid::Uuid::try_parse(text) {
            let own: MachineId = uuid.to_string().parse()?;
            if let Some(machine) = store::machine_get(&self.db, own).await? {
                return Ok(Some(machine));
            }
            id = store::machine_by_key(&self.db, &Key::Uuid(uuid)).await?;
        }
        if id.is_none() && validate_host_name(text).is_ok() {
            id = store::machine_by_name(&self.db, text).await?;
        }
        if id.is_none()
            && let Ok(mac) = text.parse::<Mac>()
        {
            id = store::machine_by_key(&self.db, &Key::Mac(mac)).await?;
        }
        if id.is_none()
            && let Some(serial) = convert::serial(text)
        {
            id = store::machine_by_key(&self.db, &Key::Serial(serial)).await?;
        }
        match id {
            Some(id) => store::machine_get(&self.db, id).await,
            None => Ok(None),
        }
    }

    /// One page of machines, the oldest first. With a state, a page can hold fewer than were asked for and still
    /// have a next one.
    pub async fn list(
        &self,
        caller: &Caller,
        request: &v1::ListMachinesRequest,
    ) -> Result<Page<Machine>, Error> {
        let all = ResourceName::any(Scope::System, Machine::KIND);
        self.guard
            .authorize(caller, "provision:machines:list", &all, &[])
            .await?;
        let state = convert::state_from_wire(request.state)?;
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let (mut items, more) =
            store::machine_page(&self.db, page.after.as_deref(), page.size).await?;
        let last = items.last().filter(|_| more);
        let next_page_token = last.map(|it| PageRequest::token(&it.id.to_string()));
        items.retain(|machine| state.is_none_or(|state| machine.state == state));
        Ok(Page {
            items,
            next_page_token: next_page_token.unwrap_or_default(),
        })
    }

    /// Gives a machine its name: from here on it is installed when it netboots.
    pub async fn approve(
        &self,
        caller: &Caller,
        request: &v1::ApproveMachineRequest,
    ) -> Result<v1::ApproveMachineResponse, Error> {
        const ACTION: &str = "provision:machines:approve";
        let machine = self.find(caller, ACTION, &request.id).await?;
        validate_host_name(&request.name)?;
        let wish = Wish::Approve {
            address: self.host_address(&request.name, &request.address)?,
            name: request.name.clone(),
        };
        let call = (ACTION, request.request_id.as_str(), request);
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
        const ACTION: &str = "provision:machines:reinstall";
        let machine = self.find(caller, ACTION, &request.id).await?;
        let wish = Wish::Reinstall {
            typed: request.confirm_name.clone(),
            force: request.force,
        };
        let call = (ACTION, request.request_id.as_str(), request);
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
        const ACTION: &str = "provision:machines:retire";
        let machine = self.find(caller, ACTION, &request.id).await?;
        let wish = Wish::Retire {
            typed: request.confirm_name.clone(),
            force: request.force,
        };
        let call = (ACTION, request.request_id.as_str(), request);
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

    /// The address that the host `name` is to have, if one is known or given.
    fn host_address(&self, name: &str, given: &str) -> Result<Option<IpAddr>, Error> {
        if name == self.settings.node_name() {
            return Err(Error::already_exists("host", name));
        }
        let given: Option<IpAddr> = match given {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Error::invalid("address", text, "an IPv4 or IPv6 address, or none")
            })?),
        };
        let hosts = &self.settings.hosts;
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

    async fn change<Req, Resp>(
        &self,
        caller: &Caller,
        (action, request_id, request): (&str, &str, &Req),
        id: MachineId,
        expected_revision: u64,
        wish: Wish,
        answer: impl Fn(&Machine) -> Resp,
    ) -> Result<Resp, Error>
    where
        Req: prost::Message,
        Resp: prost::Message + Default,
    {
        let mut mutation = self.mutations.start(caller, action, request_id, request)?;
        let mut doubts = ATTEMPTS;
        loop {
            let mut tx = self.db.begin();
            if let Some(earlier) = mutation.replay(&mut tx).await? {
                return Ok(earlier);
            }
            let applied = self.apply(&mut tx, id, expected_revision, &wish).await;
            let (before, after) = match applied {
                Ok(applied) => applied,
                // Refused, but only because of what it saw half of: another commit came between its reads.
                Err(_) if doubts > 0 && !tx.holds().await? => {
                    doubts -= 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let response = answer(&after);
            if before == after {
                return Ok(response);
            }
            let name = after.resource_name();
            let bytes = (
                store::machine_bytes(&before)?,
                store::machine_bytes(&after)?,
            );
            let done = mutation.commit(
                tx,
                &name,
                Some(&bytes.0),
                Some(&bytes.1),
                "",
                response,
                None,
            );
            if let Some(response) = done.await? {
                tracing::info!(machine = %after.id, name = after.called(), state = %after.state, action, "machine changed");
                self.wake.iter().for_each(Signal::notify);
                return Ok(response);
            }
        }
    }

    /// Does in `tx` what is wished; gives the machine before and after.
    async fn apply(
        &self,
        tx: &mut Transaction,
        id: MachineId,
        expected_revision: u64,
        wish: &Wish,
    ) -> Result<(Machine, Machine), Error> {
        let before = store::machine_read(tx, id)
            .await?
            .ok_or_else(|| Error::not_found(Machine::NOUN, id))?;
        if expected_revision != 0 && expected_revision != before.revision {
            return Err(Error::Conflict {
                kind: Machine::NOUN,
                id: id.to_string(),
                expected: expected_revision,
                actual: before.revision,
            });
        }
        let mut after = before.clone();
        match wish {
            Wish::Approve { name, address } => {
                let same = before.name.as_ref() == Some(name) && before.address == *address;
                if same && before.state == State::Approved {
                    return Ok((before, after));
                }
                after.apply(Event::Approve, now())?;
                if store::machine_by_name_read(tx, name).await?.is_some() {
                    return Err(Error::already_exists("host", name));
                }
                after.name = Some(name.clone());
                after.address = *address;
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
        store::certificates_delete(&self.db, tx, id).await?;
        after.revision += 1;
        store::machine_put(tx, Some(&before), &after).await?;
        Ok((before, after))
    }
}
