//! The owner's side of a console.

use photon_api::plasmavmc::v1::ConsoleRequest;
use photon_api::plasmavmc::v1::console_request::Message;
use photon_resource::{Caller, Error};
use tonic::Streaming;

use super::access::vm_attributes;
use super::{Access, ConsoleHub, Opened, Output, Reference, Supervision};
use crate::phase::Phase;

const ACTION: &str = "compute:instances:console";

/// Opens consoles for owners. Clones are the same.
#[derive(Clone)]
pub struct Consoles {
    access: Access,
    hub: ConsoleHub,
}

/// An owner's open console.
pub struct Session {
    /// `None` when the owner has ended its side: the output goes on.
    input: Option<Streaming<ConsoleRequest>>,
    opened: Opened,
    supervision: Supervision,
}

impl Consoles {
    pub fn new(access: Access, hub: ConsoleHub) -> Self {
        Self { access, hub }
    }

    /// Opens the console of a VM (id or name); `input` is what follows on the owner's stream.
    ///
    /// Errors: `FailedPrecondition` in a phase without a console; `Unavailable` if the host is not connected.
    pub async fn open(
        &self,
        caller: &Caller,
        vm: &str,
        input: Streaming<ConsoleRequest>,
    ) -> Result<Session, Error> {
        let vm = self.access.vm(caller, ACTION, Reference::of(vm)).await?;
        let phase = vm.status.phase;
        if ![Phase::Starting, Phase::Running, Phase::Stopping].contains(&phase) {
            return Err(Error::FailedPrecondition(format!(
                "VM '{}' is {}: it has a console when it is STARTING, RUNNING or STOPPING",
                vm.name,
                phase.as_str()
            )));
        }
        let opened = self.hub.open(&vm.node, vm.id).await?;
        let supervision = Supervision::new(
            self.access.clone(),
            caller.clone(),
            ACTION,
            vm.resource_name(),
            vm_attributes(&vm),
        );
        Ok(Session {
            input: Some(input),
            opened,
            supervision,
        })
    }
}

impl Session {
    /// The next output, while what is typed is passed on. `None`: the owner's connection has ended.
    ///
    /// Errors: `FailedPrecondition` with why the console has ended; those of a lost right.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            tokio::select! {
                output = self.opened.output.recv() => {
                    return match output {
                        Some(Output::Bytes(bytes)) => Ok(Some(bytes)),
                        Some(Output::Closed(reason)) if reason.is_empty() => Ok(None),
                        Some(Output::Closed(reason)) => Err(Error::FailedPrecondition(format!(
                            "the console has ended: {reason}"
                        ))),
                        None => Err(Error::Unavailable(
                            "the console has ended, because its output was not read fast enough: open it again"
                                .to_owned(),
                        )),
                    };
                }
                typed = next_input(&mut self.input) => match typed {
                    Some(ConsoleRequest { message: Some(Message::Input(input)) }) => {
                        self.opened.input(input).await?;
                    }
                    Some(_) => {
                        return Err(Error::invalid(
                            "message",
                            "",
                            "'input' in every message after the first",
                        ));
                    }
                    None => self.input = None,
                },
                error = self.supervision.lost() => return Err(error),
            }
        }
    }
}

/// What the owner sends next; never answers once the owner has ended its side.
async fn next_input(input: &mut Option<Streaming<ConsoleRequest>>) -> Option<ConsoleRequest> {
    match input {
        Some(stream) => stream.message().await.ok().flatten(),
        None => std::future::pending().await,
    }
}
