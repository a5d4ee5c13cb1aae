//! CreateVm: everything is checked, ports are made, the record is written, the ports are attached; see [`super::Saga`] for what
//! happens when this stops half-way.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use flaredb::Transaction;
use futures::future::try_join_all;
use photon_catalog::{Change, Effect, Named, commit, get};
use photon_resource::{Caller, Error, ImageId, NewMeta, OrgId, PortId, ProjectId, SshKeyId, VmId};
use photon_service::Mutation;
use uuid::Uuid;

use super::access::image_to_use;
use super::new_ports::Made;
use super::{Progress, Vms};
use crate::model::phase::Stage;
use crate::model::vm::MAX_SSH_KEYS;
use crate::model::{Image, Load, NewVm, PowerState, Spec, SshKey, Vm};
use crate::prismnet::Seen;
use crate::{scheduler, store};

/// How long the call waits for its ports; what takes longer goes on in the background.
const PATIENCE: Duration = Duration::from_secs(5);

impl Vms {
    /// Accepts a VM for `caller`, who makes the mutation; `told` reads the VM's id from an answer.
    ///
    /// Errors: those of the service's header; `FailedPrecondition` also for a port that another device has.
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        mut new: NewVm,
        answer: impl Fn(&Vm) -> A,
        told: impl Fn(&A) -> Option<VmId>,
    ) -> Result<A, Error> {
        if let Some(first) = mutation.replay(&mut self.db.begin()).await? {
            return self.as_it_ended(first, told).await;
        }
        let caller = mutation.caller().clone();
        new.meta.validate()?;
        let kept = self.ssh_keys_of(&caller, &new).await?;
        for key in kept {
            let given = &mut new.spec.ssh_authorized_keys;
            if !given.contains(&key) {
                given.push(key);
            }
        }
        new.spec.validate()?;
        // Both ask IAM, one by way of PrismNET.
        let (images, ports) =
            tokio::join!(self.images_of(&caller, &new), self.ports_of(&caller, &new));
        let (spec, network) = new.spec.resolve(&images?)?;
        check_ports(ports?, &new.meta)?;
        let mut change = Create {
            vms: self,
            meta: new.meta,
            spec,
            power_state: new.power_state,
            node: new.node,
            note: None,
        };
        let new_ports = self.saga.new_ports();
        if network
            .iter()
            .any(|interface| interface.port_id().is_none())
        {
            // Without room for the VM its ports would only have to be removed again.
            change.choose_host(&mut self.db.begin()).await?;
        }
        let made = new_ports.make(&caller, &change.meta, &network).await?;
        let Made { interfaces, note } = made;
        change.spec.network = interfaces;
        change.note = note.as_ref().map(|note| note.id);
        // One placement at a time: of many that run at once, all but one would conflict.
        let placing = self.placing.lock().await;
        let committed = commit(&self.db, mutation, &mut change, answer).await;
        drop(placing);
        if let (Some(note), Ok((_, None)) | Err(_)) = (note, &committed) {
            new_ports.take_back(note).await;
        }
        let (answer, made) = committed?;
        let Some(vm) = made else {
            return self.as_it_ended(answer, told).await;
        };
        if vm.stage != Stage::Attaching {
            // It has no ports: its host has it already.
            return Ok(answer);
        }
        match tokio::time::timeout(PATIENCE, self.saga.attach_ports(vm.id)).await {
            Ok(Ok(Progress::Refused(reason))) => Err(Error::FailedPrecondition(reason)),
            // Not yet, or not sure: the VM is accepted, and the background goes on with it.
            _ => Ok(answer),
        }
    }

    /// What an earlier call with this `request_id` answered, or was refused with after it was accepted.
    async fn as_it_ended<A>(
        &self,
        first: A,
        told: impl Fn(&A) -> Option<VmId>,
    ) -> Result<A, Error> {
        if let Some(id) = told(&first)
            && let Some(reason) = store::vm::vm_refused_get(&self.db, id).await?
        {
            return Err(Error::FailedPrecondition(reason));
        }
        Ok(first)
    }

    /// The text of the SSH keys of the project that are named.
    async fn ssh_keys_of(&self, caller: &Caller, new: &NewVm) -> Result<Vec<String>, Error> {
        if new.ssh_keys.len() > MAX_SSH_KEYS {
            let value = format!("({} entries)", new.ssh_keys.len());
            let expected = format!("at most {MAX_SSH_KEYS}");
            return Err(Error::invalid("ssh_key_ids", value, expected));
        }
        let (org, project) = (&new.meta.org_id, &new.meta.project_id);
        let asked = new.ssh_keys.iter().map(|text| async move {
            let named = Named {
                id: text,
                org_id: org.as_str(),
                project_id: project.as_str(),
            };
            let key: SshKey = self.access.reach(caller, "get", named).await?;
            // By its id one sees keys of other projects too.
            if (&key.meta.org_id, &key.meta.project_id) != (org, project) {
                return Err(Error::not_found(SshKeyId::KIND, text));
            }
            Ok(key.key.line().to_owned())
        });
        try_join_all(asked).await
    }

    /// The images that the spec refers to, each under the text that it is referred to by.
    async fn images_of(&self, caller: &Caller, new: &NewVm) -> Result<Vec<(String, Image)>, Error> {
        let (spec, org_id) = (&new.spec, &new.meta.org_id);
        let disks = spec.disks.iter().filter_map(|disk| disk.image.as_ref());
        let mut found: HashMap<&String, Image> = HashMap::new();
        for text in disks.chain(&spec.kernel_image) {
            if found.contains_key(text) {
                continue;
            }
            let named = Named {
                id: text,
                org_id: org_id.as_str(),
                project_id: new.meta.project_id.as_str(),
            };
            let image = image_to_use(&self.access, caller, named).await?;
            // An operator sees other tenants' images; their VMs still don't get them.
            if !image.public && image.scope.org() != Some(org_id) {
                return Err(Error::not_found(ImageId::KIND, text));
            }
            found.insert(text, image);
        }
        let found = found.into_iter();
        Ok(found.map(|(text, image)| (text.clone(), image)).collect())
    }

    /// The ports that the spec names, each with the place of its interface, which the caller may use.
    async fn ports_of(
        &self,
        caller: &Caller,
        new: &NewVm,
    ) -> Result<Vec<(usize, PortId, Seen)>, Error> {
        let network = new.spec.network.iter().enumerate();
        let named = network.filter_map(|(index, it)| Some((index, it.port_id()?)));
        let asked = named.map(|(index, port_id)| async move {
            let port = self.ports.to_use(caller, port_id).await?;
            Ok((index, port_id, port))
        });
        try_join_all(asked).await
    }
}

/// Each port belongs to the VM's project, and is attached to nothing.
fn check_ports(ports: Vec<(usize, PortId, Seen)>, meta: &NewMeta) -> Result<(), Error> {
    for (index, id, port) in ports {
        let field = format!("spec.network[{index}].port_id");
        check_port(&field, id, &port, (&meta.org_id, &meta.project_id))?;
    }
    Ok(())
}

/// The port belongs to the VM's project, and is attached to nothing.
pub(super) fn check_port(
    field: &str,
    id: PortId,
    port: &Seen,
    (org, project): (&OrgId, &ProjectId),
) -> Result<(), Error> {
    if port.org_id != org.as_str() {
        return Err(Error::not_found(PortId::KIND, id));
    }
    if port.project_id != project.as_str() {
        return Err(Error::invalid(
            field,
            id,
            format!(
                "a port of the VM's project '{project}'; this one belongs to project '{}'",
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
    Ok(())
}

struct Create<'a> {
    vms: &'a Vms,
    meta: NewMeta,
    spec: Spec,
    power_state: PowerState,
    node: Option<String>,
    /// Of ports that were made for it.
    note: Option<Uuid>,
}

impl Create<'_> {
    /// The host to go to. What others take of it from here on makes the transaction conflict.
    async fn choose_host(&self, tx: &mut Transaction) -> Result<String, Error> {
        let mut hosts = self.vms.nodes.candidates().await?;
        let (load, hypervisor) = (self.spec.load(), self.spec.hypervisor);
        let overcommit = self.vms.settings.overcommit();
        loop {
            let chosen = match &self.node {
                Some(name) => scheduler::choose_named(&hosts, name, load, hypervisor, overcommit)?,
                None => scheduler::choose(&hosts, load, hypervisor, overcommit)?,
            };
            let name = chosen.name.clone();
            let used = store::node::load_read(tx, &name).await?;
            if used == chosen.used {
                return Ok(name);
            }
            // Another VM has come or gone meanwhile: as the transaction sees it.
            for host in hosts.iter_mut().filter(|host| host.name == name) {
                host.used = used;
            }
        }
    }
}

#[async_trait]
impl Change for Create<'_> {
    type Value = Vm;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Vm>, Error> {
        let node = self.choose_host(tx).await?;
        store::node::load_change(tx, &node, self.spec.load(), Load::default()).await?;
        for image in self.spec.images() {
            get::<Image>(tx, &image).await?;
        }
        let mut id = VmId::generate();
        while store::vm::vm_id_is_taken(tx, id).await? {
            id = VmId::generate();
        }
        if let Some(note) = self.note
            && !store::new_ports::new_ports_remove(tx, note).await?
        {
            return Err(Error::Unavailable(
                "the VM's new ports were removed, because making it took too long: try again"
                    .into(),
            ));
        }
        let (meta, spec) = (self.meta.clone(), self.spec.clone());
        let vm = Vm::new(id, meta, spec, self.power_state, node);
        store::vm::vm_create(tx, &vm).await?;
        Ok(Effect::on(vm))
    }
}
