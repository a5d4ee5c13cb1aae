//! CreateVm: everything is checked, the record is written, the ports are attached; see [`super::Saga`] for what
//! happens when this stops half-way.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use futures::future::try_join_all;
use photon_api::plasmavmc::v1;
use photon_resource::{
    Caller, Error, OrgId, PrincipalId, ProjectId, ResourceName, Scope, VmId, validate_description,
    validate_labels, validate_resource_name,
};
use photon_service::Mutation;

use super::access::attributes;
use super::{Progress, Reference, Vms};
use crate::convert;
use crate::model::{Image, Labels, Node, PowerState, Size, Spec, Vm};
use crate::phase::{Stage, Status};
use crate::scheduler;
use crate::store;
use crate::store::vm::Taken;

const ACTION: &str = "compute:instances:create";
/// How long the call waits for its ports; what takes longer goes on in the background.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds that a guest has to power down, unless StopVm says otherwise.
pub(super) const STOP_TIMEOUT: u32 = 30;

/// A VM that was asked for, checked as far as is possible without the store.
struct NewVm {
    org_id: OrgId,
    project_id: ProjectId,
    owner: PrincipalId,
    name: String,
    description: String,
    labels: Labels,
    spec: Spec,
    power_state: PowerState,
    /// Host that an operator has named.
    node: Option<String>,
}

impl Vms {
    /// Accepts a VM.
    ///
    /// Errors: those of the service's header; `FailedPrecondition` also for a port that another device has.
    pub async fn create(
        &self,
        caller: &Caller,
        request: v1::CreateVmRequest,
    ) -> Result<v1::CreateVmResponse, Error> {
        let guard = self.access.guard();
        let (org_id, project_id) = guard.scope(caller, &request.org_id, &request.project_id)?;
        let scope = Scope::Project(org_id.clone(), project_id.clone());
        let all = ResourceName::any(scope, Vm::KIND);
        let owner = caller.claims.principal_id.to_string();
        let labels: Labels = request.labels.clone();
        let mut facts = attributes(&request.name, &owner, &labels);
        facts.push(("node".to_owned(), request.node.clone()));
        self.access.ask(caller, ACTION, &all, &facts).await?;
        if !request.node.is_empty() && caller.claims.org_id.is_some() {
            let reason = "only operators choose the host: leave `node` empty";
            guard.record(caller, ACTION, &all, reason).await;
            return Err(Error::PermissionDenied {
                action: ACTION.to_owned(),
                resource: Node::resource_name(&request.node).to_string(),
                reason: reason.to_owned(),
            });
        }

        let mut mutation = self
            .mutations
            .start(caller, ACTION, &request.request_id, &request)?;
        if let Some(first) = mutation.replay(&mut self.db.begin()).await? {
            return self.as_it_ended(first).await;
        }
        let new = self.checked(caller, request, (org_id, project_id)).await?;
        let (id, response) = match self.accept(&mut mutation, new).await? {
            Accepted::Replayed(first) => return self.as_it_ended(first).await,
            Accepted::Attaching(id, response) => (id, response),
            Accepted::Placed(response) => return Ok(response),
        };
        match tokio::time::timeout(PATIENCE, self.saga.advance(id)).await {
            Ok(Ok(Progress::Refused(reason))) => Err(Error::FailedPrecondition(reason)),
            // Not yet, or not sure: the VM is accepted, and the background goes on with it.
            _ => Ok(response),
        }
    }

    /// What an earlier call with this `request_id` answered, or was refused with after it was accepted.
    async fn as_it_ended(
        &self,
        first: v1::CreateVmResponse,
    ) -> Result<v1::CreateVmResponse, Error> {
        let id = first.vm.as_ref().and_then(|vm| vm.id.parse().ok());
        if let Some(id) = id
            && let Some(reason) = store::vm::vm_refused_get(&self.db, id).await?
        {
            return Err(Error::FailedPrecondition(reason));
        }
        Ok(first)
    }

    async fn checked(
        &self,
        caller: &Caller,
        request: v1::CreateVmRequest,
        (org_id, project_id): (OrgId, ProjectId),
    ) -> Result<NewVm, Error> {
        validate_resource_name("name", &request.name)?;
        validate_description(&request.description)?;
        validate_labels(&request.labels)?;
        let power_state = convert::power_state("power_state", request.power_state)?;
        let spec = convert::spec_from_wire(request.spec.unwrap_or_default(), &request.name)?;
        spec.validate()?;
        let images = self.images_of(caller, &spec, &org_id, &project_id).await?;
        let spec = spec.resolve(&images)?;
        self.check_ports(caller, &spec, &org_id, &project_id)
            .await?;
        Ok(NewVm {
            org_id,
            project_id,
            owner: caller.claims.principal_id,
            name: request.name,
            description: request.description,
            labels: request.labels,
            spec,
            power_state: power_state.unwrap_or(PowerState::On),
            node: (!request.node.is_empty()).then_some(request.node),
        })
    }

    /// The images that the spec refers to, each under the text that it is referred to by.
    async fn images_of(
        &self,
        caller: &Caller,
        spec: &Spec<String>,
        org_id: &OrgId,
        project_id: &ProjectId,
    ) -> Result<Vec<(String, Image)>, Error> {
        let disks = spec.disks.iter().filter_map(|disk| disk.image.as_ref());
        let mut found: HashMap<&String, Image> = HashMap::new();
        for text in disks.chain(&spec.kernel_image) {
            if found.contains_key(text) {
                continue;
            }
            let reference = Reference {
                id: text,
                org_id: org_id.as_str(),
                project_id: project_id.as_str(),
            };
            let image = self
                .access
                .image_to_use(caller, "compute:images:get", reference)
                .await?;
            // An operator sees other tenants' images; their VMs still don't get them.
            if !image.public && image.scope.org() != Some(org_id) {
                return Err(Error::not_found(photon_resource::ImageId::KIND, text));
            }
            found.insert(text, image);
        }
        let found = found.into_iter();
        Ok(found.map(|(text, image)| (text.clone(), image)).collect())
    }

    /// Each port is there for the caller, belongs to the VM's project, and is attached to nothing.
    async fn check_ports(
        &self,
        caller: &Caller,
        spec: &Spec,
        org_id: &OrgId,
        project_id: &ProjectId,
    ) -> Result<(), Error> {
        let asked = spec.network.iter().map(|interface| async move {
            let port = self.ports.get(caller, interface.port_id).await?;
            Ok::<_, Error>((interface.port_id, port))
        });
        for (index, (id, port)) in try_join_all(asked).await?.into_iter().enumerate() {
            if port.org_id != org_id.as_str() {
                return Err(Error::not_found(photon_resource::PortId::KIND, id));
            }
            if port.project_id != project_id.as_str() {
                return Err(Error::invalid(
                    format!("spec.network[{index}].port_id"),
                    id,
                    format!(
                        "a port of the VM's project '{project_id}'; this one belongs to project '{}'",
                        port.project_id
                    ),
                ));
            }
            if !port.device_id.is_empty() {
                return Err(Error::FailedPrecondition(format!(
                    "port {id} can't be attached: device {} has it; detach it there, or use another port",
                    port.device_id
                )));
            }
        }
        Ok(())
    }

    /// Writes the record, its place and the answer in one transaction.
    async fn accept(&self, mutation: &mut Mutation, new: NewVm) -> Result<Accepted, Error> {
        loop {
            // One placement at a time: of many that run at once, all but one would conflict.
            let _placing = self.placing.lock().await;
            let mut tx = self.db.begin();
            if let Some(first) = mutation.replay(&mut tx).await? {
                return Ok(Accepted::Replayed(first));
            }
            let (node, used) = self.choose_host(&new.spec, new.node.as_deref()).await?;
            // What others take of the host from here on makes this transaction conflict.
            if store::node::load_read(&mut tx, &node).await? != used {
                continue;
            }
            store::node::load_change(&mut tx, &node, new.spec.size, Size::default()).await?;
            for image in new.spec.images() {
                if store::image::image_read(&mut tx, image).await?.is_none() {
                    return Err(Error::not_found(photon_resource::ImageId::KIND, image));
                }
            }
            let vm = new.on(node);
            let refusal = match store::vm::vm_insert(&mut tx, &vm).await? {
                Ok(()) => None,
                Err(Taken::Uid) => continue,
                Err(Taken::Name) => Some(Error::already_exists(Vm::NOUN, &vm.name)),
                Err(Taken::Port(port, other)) => Some(Error::FailedPrecondition(format!(
                    "port {port} can't be attached: VM {other} has it; delete that VM, or use another port"
                ))),
            };
            if let Some(refusal) = refusal {
                // It may be this very call that has taken it, sent twice: then the answer is there now.
                if tx.holds().await? {
                    return Err(refusal);
                }
                continue;
            }
            let bytes = store::vm::vm_bytes(&vm)?;
            let response = v1::CreateVmResponse {
                vm: Some(convert::vm_to_wire(&vm)),
            };
            let name = vm.resource_name();
            let committed = mutation.commit(tx, &name, None, Some(&bytes), "", response, None);
            if let Some(response) = committed.await? {
                return Ok(match vm.stage {
                    Stage::Attaching => Accepted::Attaching(vm.id, response),
                    _ => Accepted::Placed(response),
                });
            }
        }
    }

    /// The host to go to, and what VMs took of it when it was chosen.
    async fn choose_host(&self, spec: &Spec, named: Option<&str>) -> Result<(String, Size), Error> {
        let hosts = self.nodes.candidates().await?;
        let (size, hypervisor) = (spec.size, spec.hypervisor);
        let overcommit = self.settings.vcpu_overcommit;
        let chosen = match named {
            Some(name) => scheduler::choose_named(&hosts, name, size, hypervisor, overcommit)?,
            None => scheduler::choose(&hosts, size, hypervisor, overcommit)?,
        };
        Ok((chosen.name.clone(), chosen.used))
    }
}

/// How the transaction ended.
enum Accepted {
    /// It is the answer to an earlier call.
    Replayed(v1::CreateVmResponse),
    /// Ports are to be attached.
    Attaching(VmId, v1::CreateVmResponse),
    /// It has no ports: its host has it already.
    Placed(v1::CreateVmResponse),
}

impl NewVm {
    fn on(&self, node: String) -> Vm {
        let now = SystemTime::now();
        Vm {
            id: VmId::generate(),
            org_id: self.org_id.clone(),
            project_id: self.project_id.clone(),
            owner: self.owner,
            name: self.name.clone(),
            description: self.description.clone(),
            labels: self.labels.clone(),
            spec: self.spec.clone(),
            spec_revision: 1,
            power_state: self.power_state,
            reboot_generation: 0,
            force: false,
            stop_timeout_seconds: STOP_TIMEOUT,
            stage: if self.spec.network.is_empty() {
                Stage::Placed
            } else {
                Stage::Attaching
            },
            node,
            ports: Vec::new(),
            created_at: now,
            updated_at: now,
            revision: 1,
            status: Status::new(),
        }
    }
}
