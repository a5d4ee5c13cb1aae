//! Interfaces that come and go while there is a VM.
//!
//! ```text
//!   AttachInterface: server attaches the port ──► in spec.network and ports ──► host plugs it in
//!   DetachInterface ──► in leaving ──host: the guest has let go──► server detaches the port ──► (nothing)
//! ```
//! A port is given away only when its host has said that the VM's process has its interface no more.

use std::collections::BTreeSet;

use photon_resource::{Error, PortId, tap_name};

use super::spec::MAX_INTERFACES;
use super::{Interface, Leaving, Port, Vm};
use crate::model::phase::{Phase, Stage};

impl Vm {
    /// Whether an interface may be added; `false`: it is there already.
    ///
    /// Errors: `InvalidArgument`; `FailedPrecondition` while it is created or deleted, or as long as the port is on its
    /// way out.
    pub fn may_attach(&self, interface: &Interface) -> Result<bool, Error> {
        self.expect_placed("attached")?;
        let port_id = interface.port_id;
        let mut there = self.spec.network.iter();
        if there.any(|it| it.id == interface.id && it.port_id == port_id) {
            return Ok(false);
        }
        if self.leaving.iter().any(|it| it.port_id == port_id) {
            return Err(Error::FailedPrecondition(format!(
                "port {port_id} is on its way out of VM '{}': attach it again when it is in no `leaving_port_ids` any more",
                self.meta.name
            )));
        }
        self.spec.check_new_interface(interface)?;
        let held = self.spec.network.len() + self.leaving.len();
        if held >= MAX_INTERFACES {
            return Err(Error::FailedPrecondition(format!(
                "VM '{}' has {held} interfaces with those that its guest has not let go of ({}), and may have {MAX_INTERFACES}: \
                 reboot or stop it, which takes them out",
                self.meta.name,
                self.leaving.len()
            )));
        }
        Ok(true)
    }

    /// Adds an interface, whose port is attached.
    ///
    /// Errors: those of [`may_attach`](Self::may_attach).
    pub fn attach(&mut self, interface: Interface, port: Port) -> Result<(), Error> {
        if self.may_attach(&interface)? {
            self.spec.network.push(interface);
            self.ports.push(port);
        }
        Ok(())
    }

    /// Takes the interface on a port from the spec; one that is on its way out stays so.
    ///
    /// Errors: `InvalidArgument` if there is none; `FailedPrecondition` while it is created or deleted.
    pub fn detach(&mut self, port_id: PortId) -> Result<(), Error> {
        self.expect_placed("detached")?;
        if self.leaving.iter().any(|it| it.port_id == port_id) {
            return Ok(());
        }
        let Some(at) = self
            .spec
            .network
            .iter()
            .position(|it| it.port_id == port_id)
        else {
            let expected = "the port of an interface of the VM, as in its `spec.network`";
            return Err(Error::invalid("port_id", port_id, expected));
        };
        self.spec.network.remove(at);
        self.ports.retain(|port| port.port_id != port_id);
        self.leaving.push(Leaving {
            port_id,
            interface_name: tap_name(port_id),
            on_host: true,
        });
        Ok(())
    }

    fn expect_placed(&self, done: &str) -> Result<(), Error> {
        let (phase, accepted) = match self.stage {
            Stage::Placed => return Ok(()),
            Stage::Attaching => (Phase::Provisioning, "its host has it"),
            Stage::Removing | Stage::Releasing => (Phase::Deleting, "it is not being deleted"),
        };
        Err(Error::FailedPrecondition(format!(
            "VM '{}' is {}: an interface can be {done} when {accepted}",
            self.meta.name,
            phase.as_str(),
        )))
    }

    /// Whether the server has ports to detach from it, beside those of its deletion.
    pub fn has_ports_to_detach(&self) -> bool {
        self.stage == Stage::Placed && self.ports_to_detach().next().is_some()
    }

    /// Ports that its host has no more.
    pub fn ports_to_detach(&self) -> impl Iterator<Item = PortId> {
        let free = self.leaving.iter().filter(|leaving| !leaving.on_host);
        free.map(|leaving| leaving.port_id)
    }

    /// Its host says which TAPs its process has open.
    pub(in crate::model) fn holds(&mut self, taps: &BTreeSet<String>) {
        for leaving in &mut self.leaving {
            leaving.on_host &= taps.contains(&leaving.interface_name);
        }
    }

    /// Ports that were made with it, and go with it.
    pub fn ports_to_delete(&self) -> impl Iterator<Item = PortId> {
        let made = self.spec.network.iter().filter(|it| it.delete_with_vm);
        made.map(|interface| interface.port_id)
    }

    /// Every port that is its, or may be.
    pub fn port_ids(&self) -> Vec<PortId> {
        let wanted = self.spec.network.iter().map(|interface| interface.port_id);
        let leaving = self.leaving.iter().map(|leaving| leaving.port_id);
        wanted.chain(leaving).collect()
    }
}
