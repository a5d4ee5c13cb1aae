//! The steps of a saga, as changes of the VM's record: each looks at the record anew, and changes nothing if somebody has
//! gone on with it.

use async_trait::async_trait;
use flaredb::{LeaseId, Transaction};
use photon_catalog::{Change, Effect, Stored};
use photon_resource::{Error, PortId, VmId};

use crate::model::phase::{Command, Stage};
use crate::model::{Load, Port, Vm};
use crate::store;

/// The VM, if it is still in this stage: else somebody has gone on with it.
async fn in_stage(tx: &mut Transaction, id: VmId, stage: Stage) -> Result<Option<Vm>, Error> {
    let vm = Vm::read(tx, &id).await?;
    Ok(vm.filter(|vm| vm.stage == stage))
}

/// Its ports are attached: its host is told of it.
pub(super) struct Place {
    pub id: VmId,
    pub ports: Vec<Port>,
}

#[async_trait]
impl Change for Place {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        let Some(before) = in_stage(tx, self.id, Stage::Attaching).await? else {
            return Ok(Effect::nothing(()));
        };
        let mut after = before.clone();
        after.stage = Stage::Placed;
        after.ports = self.ports.clone();
        after.status.message.clear();
        store::vm::vm_update(tx, &before, &after).await?;
        let reason = format!("its ports are attached: handed to host {}", after.node);
        Ok(Effect::about(&after, ()).because(reason))
    }
}

/// A port is about to be attached to a VM that is there.
pub(super) struct Attaching {
    pub id: VmId,
    pub port_id: PortId,
}

#[async_trait]
impl Change for Attaching {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        store::vm::vm_attaching_put(tx, self.id, self.port_id).await?;
        Ok(Effect::nothing(()))
    }
}

/// Nothing is known any more of a port that was about to be attached, unless the VM has it.
pub(super) struct TakenBack {
    pub id: VmId,
    pub port_id: PortId,
}

#[async_trait]
impl Change for TakenBack {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        let vm = Vm::read(tx, &self.id).await?;
        if !vm.is_some_and(|vm| vm.port_ids().contains(&self.port_id)) {
            store::vm::vm_release_port(tx, self.port_id);
        }
        store::vm::vm_attaching_remove(tx, self.id, self.port_id);
        Ok(Effect::nothing(()))
    }
}

/// A port that the VM's host has no more is detached.
pub(super) struct Detached {
    pub id: VmId,
    pub port_id: PortId,
}

#[async_trait]
impl Change for Detached {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        let Some(before) = in_stage(tx, self.id, Stage::Placed).await? else {
            return Ok(Effect::nothing(()));
        };
        let mut after = before.clone();
        let port_id = self.port_id;
        after.leaving.retain(|leaving| leaving.port_id != port_id);
        if after == before {
            return Ok(Effect::nothing(()));
        }
        store::vm::vm_release_port(tx, port_id);
        store::vm::vm_update(tx, &before, &after).await?;
        Ok(Effect::about(&after, ()).because(format!("port {port_id} is detached")))
    }
}

/// Its ports are not settled yet: its status says why.
pub(super) struct Explain {
    pub id: VmId,
    pub message: String,
}

#[async_trait]
impl Change for Explain {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        if let Some(mut vm) = Vm::read(tx, &self.id).await?
            && (vm.stage.is_servers() || vm.has_ports_to_detach())
            && vm.status.message != self.message
        {
            vm.status.message = self.message.clone();
            store::vm::vm_update_status(tx, &vm)?;
        }
        Ok(Effect::nothing(()))
    }
}

/// A port is refused: what was made of it is taken back.
pub(super) struct Undo<'a> {
    pub id: VmId,
    pub reason: &'a str,
    pub lease: LeaseId,
}

#[async_trait]
impl Change for Undo<'_> {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        let Some(before) = in_stage(tx, self.id, Stage::Attaching).await? else {
            return Ok(Effect::nothing(()));
        };
        let mut after = before.clone();
        after.command(Command::Delete)?;
        after.status.message = self.reason.to_owned();
        store::vm::vm_refused_put(tx, self.id, self.reason, self.lease)?;
        store::vm::vm_update(tx, &before, &after).await?;
        Ok(Effect::about(&after, ()).because(self.reason))
    }
}

/// Its ports are detached, and its host has nothing of it.
pub(super) struct Remove {
    pub id: VmId,
}

#[async_trait]
impl Change for Remove {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        let Some(vm) = in_stage(tx, self.id, Stage::Releasing).await? else {
            return Ok(Effect::nothing(()));
        };
        store::vm::vm_remove(tx, &vm);
        let given = vm.spec.load();
        store::node::load_change(tx, &vm.node, Load::default(), given).await?;
        Ok(Effect::about(&vm, ()).because("its ports are detached: removed"))
    }
}
