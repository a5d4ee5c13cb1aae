//! VMs that exist: changed, started, stopped, deleted by their owners. Each change is one transaction; hosts follow.

use std::sync::Arc;

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Access, Change, Effect, Listing, Query, commit, get, list};
use photon_resource::{Error, Time, VmId};
use photon_service::Mutation;
use tokio::sync::Mutex;

use super::{Nodes, Saga};
use crate::model::phase::Command;
use crate::model::{Vm, VmChanges, VmFilter};
use crate::prismnet::Ports;
use crate::settings::Settings;
use crate::{scheduler, store};

/// The VMs of all tenants. Clones are the same.
#[derive(Clone)]
pub struct Vms {
    pub(super) db: Db,
    pub(super) access: Access,
    pub(super) nodes: Nodes,
    pub(super) ports: Ports,
    pub(super) saga: Saga,
    pub(super) settings: Settings,
    pub(super) placing: Arc<Mutex<()>>,
}

impl Vms {
    /// Those in `access`'s store, on `nodes`.
    pub fn new(access: Access, nodes: Nodes, ports: Ports, saga: Saga, settings: Settings) -> Self {
        Self {
            db: access.db().clone(),
            access,
            nodes,
            ports,
            saga,
            settings,
            placing: Arc::default(),
        }
    }

    /// One page.
    pub async fn list(&self, query: Query, filter: VmFilter) -> Result<Listing<Vm>, Error> {
        list(&self.db, query, |vm| filter.shows(vm)).await
    }

    /// Changes what is given.
    ///
    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`; `FailedPrecondition` while it is deleted;
    /// `ResourceExhausted` when its host has no room for what it grows by.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: VmId,
        changes: VmChanges,
        answer: impl Fn(&Vm) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let vms = self;
        let mut change = Update { vms, id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Carries out what its owner asks.
    ///
    /// Errors: `NotFound`; `FailedPrecondition` in a phase that does not allow it, and for giving up a host that is
    /// there.
    pub async fn command<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: VmId,
        command: Command,
        answer: impl Fn(&Vm) -> A,
    ) -> Result<A, Error> {
        let vms = self;
        let mut change = Commanded { vms, id, command };
        let answer = commit(&self.db, mutation, &mut change, answer).await?.0;
        if matches!(command, Command::Delete | Command::Abandon) {
            // Only if the host never knew of it, there is something to do already.
            self.saga.begin(id);
        }
        Ok(answer)
    }

    /// Errors: `FailedPrecondition` if the host is heard of.
    async fn expect_lost(&self, node: &str) -> Result<(), Error> {
        let hosts = self.nodes.candidates().await?;
        if hosts.iter().any(|host| host.name == node && host.ready) {
            return Err(Error::FailedPrecondition(format!(
                "host '{node}' is there: delete without `force`, and it removes the VM"
            )));
        }
        Ok(())
    }

    /// Stores a VM that its owner has changed.
    async fn store(
        &self,
        tx: &mut Transaction,
        before: &Vm,
        mut after: Vm,
    ) -> Result<Effect<Vm>, Error> {
        if after == *before {
            return Ok(Effect::nothing(after));
        }
        if before.stage.is_on_host() && !after.stage.is_on_host() {
            // Given up without its host's word.
            store::vm::vm_leave(tx, before)?;
        }
        after.meta.touch(Time::now());
        if after.spec.size != before.spec.size {
            self.resize(tx, before, &after).await?;
        }
        store::vm::vm_update(tx, before, &after).await?;
        Ok(Effect::on(after))
    }

    /// Takes what a VM grows by of its host, where it stays.
    async fn resize(&self, tx: &mut Transaction, before: &Vm, after: &Vm) -> Result<(), Error> {
        let (old, new) = (before.spec.load(), after.spec.load());
        let used = store::node::load_read(tx, &before.node).await?;
        store::node::load_change(tx, &before.node, new, old).await?;
        if new.vcpus <= old.vcpus && new.memory_mib <= old.memory_mib {
            return Ok(());
        }
        let mut hosts = self.nodes.candidates().await?;
        hosts.retain(|host| host.name == before.node);
        for host in &mut hosts {
            // It holds the VM already, and keeps it while it is not heard of.
            host.ready = true;
            host.used = used.without(old);
            // Its disks stay as they are, also where they are more than would be placed there today.
            host.total.disk_bytes = 0;
        }
        let overcommit = self.settings.overcommit();
        scheduler::choose(&hosts, new, after.spec.hypervisor, overcommit)?;
        Ok(())
    }
}

struct Update<'a> {
    vms: &'a Vms,
    id: VmId,
    changes: VmChanges,
}

#[async_trait]
impl Change for Update<'_> {
    type Value = Vm;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Vm>, Error> {
        let before: Vm = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.apply(self.changes.clone())?;
        self.vms.store(tx, &before, after).await
    }
}

struct Commanded<'a> {
    vms: &'a Vms,
    id: VmId,
    command: Command,
}

#[async_trait]
impl Change for Commanded<'_> {
    type Value = Vm;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Vm>, Error> {
        let before: Vm = get(tx, &self.id).await?;
        if self.command == Command::Abandon {
            self.vms.expect_lost(&before.node).await?;
        }
        let mut after = before.clone();
        after.command(self.command)?;
        self.vms.store(tx, &before, after).await
    }
}
