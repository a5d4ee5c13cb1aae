//! What owners ask of VMs that exist.

use std::sync::Arc;
use std::time::SystemTime;

use flaredb::Db;
use photon_api::plasmavmc::v1;
use photon_resource::{
    Caller, Error, Page, PageRequest, ResourceName, VmId, validate_description, validate_labels,
    validate_resource_name,
};
use photon_service::{Mutation, Mutations};
use tokio::sync::Mutex;

use super::{Access, Nodes, Ports, Reference, Saga, list};
use crate::model::vm::{check_memory, check_user_data, check_vcpus};
use crate::model::{Node, Vm, has_labels};
use crate::phase::Command;
use crate::settings::Settings;
use crate::store::vm::Taken;
use crate::{convert, scheduler, store};

/// The VM service's rules. Clones are the same.
#[derive(Clone)]
pub struct Vms {
    pub(super) db: Db,
    pub(super) mutations: Mutations,
    pub(super) access: Access,
    pub(super) nodes: Nodes,
    pub(super) ports: Ports,
    pub(super) saga: Saga,
    pub(super) settings: Settings,
    pub(super) placing: Arc<Mutex<()>>,
}

/// A changing call about one VM, found and permitted.
enum Target<Resp> {
    Vm(VmId),
    /// The answer to an earlier call with this `request_id`: the VM may be gone by now.
    Answered(Resp),
}

impl Vms {
    pub fn new(
        db: Db,
        mutations: Mutations,
        access: Access,
        nodes: Nodes,
        ports: Ports,
        saga: Saga,
        settings: Settings,
    ) -> Self {
        Self {
            db,
            mutations,
            access,
            nodes,
            ports,
            saga,
            settings,
            placing: Arc::default(),
        }
    }

    /// One VM.
    pub async fn get(&self, caller: &Caller, request: &v1::GetVmRequest) -> Result<v1::Vm, Error> {
        let reference = Reference {
            id: &request.id,
            org_id: &request.org_id,
            project_id: &request.project_id,
        };
        let vm = self
            .access
            .vm(caller, "compute:instances:get", reference)
            .await?;
        if !vm.spec.user_data.is_empty() && self.access.sees_user_data(caller, &vm).await? {
            return Ok(convert::vm_with_user_data(&vm));
        }
        Ok(convert::vm_to_wire(&vm))
    }

    /// One page of the VMs of a project, or of all projects of an organization.
    pub async fn list(
        &self,
        caller: &Caller,
        request: &v1::ListVmsRequest,
    ) -> Result<Page<v1::Vm>, Error> {
        let scope = list::scope(caller, &request.org_id, &request.project_id)?;
        let all = ResourceName::any(scope.clone(), Vm::KIND);
        self.access
            .ask(caller, "compute:instances:list", &all, &[])
            .await?;
        let phase = convert::phase_filter("phase", request.phase)?;
        let wanted = |vm: &Vm| {
            (request.name.is_empty() || vm.name == request.name)
                && (request.node.is_empty() || vm.node == request.node)
                && phase.is_none_or(|phase| vm.status.phase == phase)
                && has_labels(&vm.labels, &request.labels)
        };
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let (mut items, mut after) = (Vec::new(), page.after);
        loop {
            let (ids, more) =
                store::vm::vm_ids_in(&self.db, &scope, after.as_deref(), page.size).await?;
            for (key, id) in ids {
                // Deleted since: not there.
                if let Some(vm) = store::vm::vm_get(&self.db, id).await?.0
                    && wanted(&vm)
                {
                    if items.len() == page.size {
                        let token = after.as_deref().map(PageRequest::token);
                        let next_page_token = token.unwrap_or_default();
                        return Ok(Page {
                            items,
                            next_page_token,
                        });
                    }
                    items.push(convert::vm_to_wire(&vm));
                }
                after = Some(key);
            }
            if !more {
                return Ok(Page {
                    items,
                    next_page_token: String::new(),
                });
            }
        }
    }

    /// Changes what is given.
    pub async fn update(
        &self,
        caller: &Caller,
        request: &v1::UpdateVmRequest,
    ) -> Result<v1::UpdateVmResponse, Error> {
        const ACTION: &str = "compute:instances:update";
        let mutation = self
            .mutations
            .start(caller, ACTION, &request.request_id, request)?;
        let id = match self.target(&mutation, caller, ACTION, &request.id).await? {
            Target::Vm(id) => id,
            Target::Answered(first) => return Ok(first),
        };
        validate_update(request)?;
        let apply = |vm: &mut Vm| apply_update(vm, request);
        let respond = |vm| v1::UpdateVmResponse { vm: Some(vm) };
        self.change(mutation, id, apply, respond).await
    }

    pub async fn start(
        &self,
        caller: &Caller,
        request: &v1::StartVmRequest,
    ) -> Result<v1::StartVmResponse, Error> {
        const ACTION: &str = "compute:instances:start";
        let mutation = self
            .mutations
            .start(caller, ACTION, &request.request_id, request)?;
        let respond = |vm| v1::StartVmResponse { vm: Some(vm) };
        self.command(
            mutation,
            caller,
            ACTION,
            &request.id,
            Command::Start,
            respond,
        )
        .await
    }

    pub async fn stop(
        &self,
        caller: &Caller,
        request: &v1::StopVmRequest,
    ) -> Result<v1::StopVmResponse, Error> {
        const ACTION: &str = "compute:instances:stop";
        let mutation = self
            .mutations
            .start(caller, ACTION, &request.request_id, request)?;
        let timeout_seconds = match request.timeout_seconds {
            0 => super::vm_create::STOP_TIMEOUT,
            seconds => seconds,
        };
        let command = Command::Stop {
            force: request.force,
            timeout_seconds,
        };
        let respond = |vm| v1::StopVmResponse { vm: Some(vm) };
        if timeout_seconds > 600 {
            // Who may not stop it learns only that.
            self.access
                .vm(caller, ACTION, Reference::of(&request.id))
                .await?;
            let expected = "at most 600 seconds, or 0 for 30";
            return Err(Error::invalid("timeout_seconds", timeout_seconds, expected));
        }
        self.command(mutation, caller, ACTION, &request.id, command, respond)
            .await
    }

    pub async fn reboot(
        &self,
        caller: &Caller,
        request: &v1::RebootVmRequest,
    ) -> Result<v1::RebootVmResponse, Error> {
        const ACTION: &str = "compute:instances:reboot";
        let mutation = self
            .mutations
            .start(caller, ACTION, &request.request_id, request)?;
        let command = Command::Reboot {
            force: request.force,
        };
        let respond = |vm| v1::RebootVmResponse { vm: Some(vm) };
        self.command(mutation, caller, ACTION, &request.id, command, respond)
            .await
    }

    pub async fn delete(
        &self,
        caller: &Caller,
        request: &v1::DeleteVmRequest,
    ) -> Result<v1::DeleteVmResponse, Error> {
        const ACTION: &str = "compute:instances:delete";
        let mutation = self
            .mutations
            .start(caller, ACTION, &request.request_id, request)?;
        let respond = |vm| v1::DeleteVmResponse { vm: Some(vm) };
        let command = if request.force {
            self.may_abandon(caller, ACTION, &request.id).await?;
            Command::Abandon
        } else {
            Command::Delete
        };
        self.command(mutation, caller, ACTION, &request.id, command, respond)
            .await
    }

    /// Whether the caller may give up the host of this VM, and whether it is lost.
    async fn may_abandon(&self, caller: &Caller, action: &str, id: &str) -> Result<(), Error> {
        const ABANDON: &str = "compute:nodes:abandon";
        let vm = match self.access.vm(caller, action, Reference::of(id)).await {
            Ok(vm) => vm,
            // Gone by now, perhaps by an earlier call with this `request_id`, whose answer is given again.
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let host = Node::resource_name(&vm.node);
        if caller.claims.org_id.is_some() {
            let reason = "only operators give up a host: delete without `force`";
            self.access
                .guard()
                .record(caller, ABANDON, &host, reason)
                .await;
            return Err(Error::PermissionDenied {
                action: ABANDON.to_owned(),
                resource: host.to_string(),
                reason: reason.to_owned(),
            });
        }
        self.access.ask(caller, ABANDON, &host, &[]).await?;
        let hosts = self.nodes.candidates().await?;
        if hosts.iter().any(|host| host.name == vm.node && host.ready) {
            return Err(Error::FailedPrecondition(format!(
                "host '{}' is there: delete without `force`, and it removes the VM",
                vm.node
            )));
        }
        Ok(())
    }

    async fn command<Resp: prost::Message + Default>(
        &self,
        mutation: Mutation,
        caller: &Caller,
        action: &str,
        id: &str,
        command: Command,
        respond: impl Fn(v1::Vm) -> Resp,
    ) -> Result<Resp, Error> {
        let id = match self.target(&mutation, caller, action, id).await? {
            Target::Vm(id) => id,
            Target::Answered(first) => return Ok(first),
        };
        let apply = |vm: &mut Vm| vm.command(command).map(|_| ());
        let response = self.change(mutation, id, apply, respond).await?;
        if matches!(command, Command::Delete | Command::Abandon) {
            // Only if the host never knew of it, there is something to do already.
            drop(self.saga.begin(id));
        }
        Ok(response)
    }

    /// The VM that a change is about, if the caller may make it.
    async fn target<Resp: prost::Message + Default>(
        &self,
        mutation: &Mutation,
        caller: &Caller,
        action: &str,
        id: &str,
    ) -> Result<Target<Resp>, Error> {
        match self.access.vm(caller, action, Reference::of(id)).await {
            Ok(vm) => Ok(Target::Vm(vm.id)),
            Err(error @ Error::NotFound { .. }) => {
                match mutation.replay(&mut self.db.begin()).await? {
                    Some(first) => Ok(Target::Answered(first)),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Changes a VM in one transaction with its event and its answer.
    async fn change<Resp: prost::Message + Default>(
        &self,
        mut mutation: Mutation,
        id: VmId,
        apply: impl Fn(&mut Vm) -> Result<(), Error>,
        respond: impl Fn(v1::Vm) -> Resp,
    ) -> Result<Resp, Error> {
        loop {
            let mut tx = self.db.begin();
            if let Some(first) = mutation.replay(&mut tx).await? {
                return Ok(first);
            }
            let Some((before, _)) = store::vm::vm_read(&mut tx, id).await? else {
                return Err(Error::not_found(Vm::NOUN, id));
            };
            let mut after = before.clone();
            if let Err(refusal) = apply(&mut after) {
                // It may be this very call, sent twice, that has changed the VM: then the answer is there now.
                if tx.holds().await? {
                    return Err(refusal);
                }
                continue;
            }
            if after != before {
                if before.stage.is_on_host() && !after.stage.is_on_host() {
                    // Given up without its host's word.
                    store::vm::vm_leave(&mut tx, &before)?;
                }
                after.updated_at = SystemTime::now();
                after.revision += 1;
                if after.spec.size != before.spec.size {
                    self.resize(&mut tx, &before, &after).await?;
                }
                if store::vm::vm_update(&mut tx, &before, &after).await? == Err(Taken::Name) {
                    return Err(Error::already_exists(Vm::NOUN, &after.name));
                }
            }
            let bytes = |vm| store::vm::vm_bytes(vm);
            let (old, new) = (bytes(&before)?, bytes(&after)?);
            let response = respond(convert::vm_to_wire(&after));
            let name = after.resource_name();
            let committed = mutation.commit(tx, &name, Some(&old), Some(&new), "", response, None);
            if let Some(response) = committed.await? {
                return Ok(response);
            }
        }
    }

    /// Takes what a VM grows by of its host, where it stays.
    async fn resize(
        &self,
        tx: &mut flaredb::Transaction,
        before: &Vm,
        after: &Vm,
    ) -> Result<(), Error> {
        let (old, new) = (before.spec.size, after.spec.size);
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
            host.used.vcpus = used.vcpus.saturating_sub(old.vcpus);
            host.used.memory_mib = used.memory_mib.saturating_sub(old.memory_mib);
        }
        let overcommit = self.settings.vcpu_overcommit;
        scheduler::choose(&hosts, new, after.spec.hypervisor, overcommit)?;
        Ok(())
    }
}

fn validate_update(request: &v1::UpdateVmRequest) -> Result<(), Error> {
    if let Some(name) = &request.name {
        validate_resource_name("name", name)?;
    }
    if let Some(description) = &request.description {
        validate_description(description)?;
    }
    if let Some(labels) = &request.labels {
        validate_labels(&labels.labels)?;
    }
    if let Some(vcpus) = request.vcpus {
        check_vcpus("vcpus", vcpus)?;
    }
    if let Some(memory_mib) = request.memory_mib {
        check_memory("memory_mib", memory_mib)?;
    }
    if let Some(user_data) = &request.user_data {
        check_user_data("user_data", user_data)?;
    }
    if let Some(policy) = request.restart_policy {
        let known = convert::restart_policy("restart_policy", policy)?;
        known.ok_or_else(|| {
            let expected =
                "RESTART_POLICY_ON_FAILURE, RESTART_POLICY_ALWAYS or RESTART_POLICY_NEVER";
            Error::invalid("restart_policy", policy, expected)
        })?;
    }
    Ok(())
}

/// What UpdateVm changes; of the spec, what counts from the next start.
fn apply_update(vm: &mut Vm, request: &v1::UpdateVmRequest) -> Result<(), Error> {
    if request.expected_revision != 0 && request.expected_revision != vm.revision {
        return Err(Error::Conflict {
            kind: Vm::NOUN,
            id: vm.id.to_string(),
            expected: request.expected_revision,
            actual: vm.revision,
        });
    }
    if vm.stage.is_deleting() {
        return Err(Error::FailedPrecondition(format!(
            "VM '{}' is DELETING: UpdateVm is accepted in every other phase",
            vm.name
        )));
    }
    if let Some(name) = &request.name {
        vm.name = name.clone();
    }
    if let Some(description) = &request.description {
        vm.description = description.clone();
    }
    if let Some(labels) = &request.labels {
        vm.labels = labels.labels.clone();
    }
    let before = vm.spec.clone();
    if let Some(vcpus) = request.vcpus {
        vm.spec.size.vcpus = vcpus;
    }
    if let Some(memory_mib) = request.memory_mib {
        vm.spec.size.memory_mib = memory_mib;
    }
    if let Some(user_data) = &request.user_data {
        vm.spec.user_data = user_data.clone();
    }
    if let Some(policy) = request.restart_policy
        && let Some(policy) = convert::restart_policy("restart_policy", policy)?
    {
        vm.spec.restart_policy = policy;
    }
    if vm.spec != before {
        vm.spec_revision += 1;
    }
    Ok(())
}
