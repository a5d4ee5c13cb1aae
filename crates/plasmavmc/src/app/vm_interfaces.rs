//! AttachInterface and DetachInterface; see [`crate::model::Vm::attach`].

use async_trait::async_trait;
use flaredb::Transaction;
use photon_catalog::{Change, Effect, commit, get, load};
use photon_resource::{Changes, Error, PortId, VmId};
use photon_service::Mutation;

use super::Vms;
use super::vm_create::check_port;
use crate::model::{Interface, Port, Vm, kind};
use crate::prismnet::NotAttached;
use crate::store;

impl Vms {
    /// Gives the VM one more interface. Its port is attached first, so that what is stored, and told, is what is so; what is
    /// left half-way is taken back by the saga.
    ///
    /// Errors: those of the service's header; `FailedPrecondition` also for a port that another device has; `Unavailable`
    /// when PrismNET is.
    pub async fn attach_interface<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: VmId,
        interface: Interface,
        expected_revision: u64,
        answer: impl Fn(&Vm) -> A,
    ) -> Result<A, Error> {
        let _alone = self.saga.alone(id).await;
        if let Some(first) = mutation.replay(&mut self.db.begin()).await? {
            return Ok(first);
        }
        let Some(vm) = load::<Vm>(&self.db, &id).await? else {
            return Err(Error::not_found(kind::VMS.noun, id));
        };
        let port = if vm.may_attach(&interface)? {
            let port_id = interface.port_id;
            let seen = self.ports.to_use(mutation.caller(), port_id).await?;
            let tenant = (&vm.meta.org_id, &vm.meta.project_id);
            check_port("interface.port_id", port_id, &seen, tenant)?;
            self.saga.note_attaching(id, port_id).await?;
            match self.saga.attach_one(&vm, &interface).await {
                Ok(port) => Some(port),
                Err(refused) => {
                    self.saga.begin(id);
                    return Err(match refused {
                        NotAttached::Refused(reason) => Error::FailedPrecondition(reason),
                        NotAttached::Failed(error) => error,
                    });
                }
            }
        } else {
            None
        };
        let mut change = Attach {
            vms: self,
            id,
            interface,
            port,
            expected_revision,
        };
        let done = commit(&self.db, mutation, &mut change, answer).await;
        if done.is_err() {
            self.saga.begin(id);
        }
        Ok(done?.0)
    }

    /// Takes the interface on a port from the VM: its host follows, and then the port is detached.
    ///
    /// Errors: those of the service's header.
    pub async fn detach_interface<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: VmId,
        port_id: PortId,
        expected_revision: u64,
        answer: impl Fn(&Vm) -> A,
    ) -> Result<A, Error> {
        let mut change = Detach {
            vms: self,
            id,
            port_id,
            expected_revision,
        };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }
}

fn expect_revision(vm: &mut Vm, expected: u64) -> Result<(), Error> {
    let changes = Changes {
        expected_revision: (expected != 0).then_some(expected),
        ..Changes::default()
    };
    vm.meta.apply(kind::VMS, changes)
}

struct Attach<'a> {
    vms: &'a Vms,
    id: VmId,
    interface: Interface,
    /// `None`: it is there already.
    port: Option<Port>,
    expected_revision: u64,
}

#[async_trait]
impl Change for Attach<'_> {
    type Value = Vm;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Vm>, Error> {
        let before: Vm = get(tx, &self.id).await?;
        let mut after = before.clone();
        expect_revision(&mut after, self.expected_revision)?;
        let port_id = self.interface.port_id;
        match &self.port {
            Some(port) => {
                after.attach(self.interface.clone(), port.clone())?;
                store::vm::vm_attaching_remove(tx, self.id, port_id);
            }
            None if after.may_attach(&self.interface)? => {
                return Err(Error::Unavailable(format!(
                    "the interface on port {port_id} was detached in this moment: try again"
                )));
            }
            None => {}
        }
        self.vms.store(tx, &before, after).await
    }
}

struct Detach<'a> {
    vms: &'a Vms,
    id: VmId,
    port_id: PortId,
    expected_revision: u64,
}

#[async_trait]
impl Change for Detach<'_> {
    type Value = Vm;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Vm>, Error> {
        let before: Vm = get(tx, &self.id).await?;
        let mut after = before.clone();
        expect_revision(&mut after, self.expected_revision)?;
        after.detach(self.port_id)?;
        self.vms.store(tx, &before, after).await
    }
}
