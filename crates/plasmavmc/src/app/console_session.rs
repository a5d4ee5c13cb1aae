//! The owner's side of a console.

use futures::StreamExt;
use futures::stream::BoxStream;
use photon_resource::Error;

use super::{ConsoleHub, Opened, Output};
use crate::model::Vm;
use crate::model::phase::Phase;

/// What an owner types. An error ends the console.
pub type Typed = BoxStream<'static, Result<Vec<u8>, Error>>;

/// Opens consoles for owners. Clones are the same.
#[derive(Clone)]
pub struct Consoles {
    hub: ConsoleHub,
}

/// An owner's open console.
pub struct Session {
    /// `None` when the owner has ended its side: the output goes on.
    input: Option<Typed>,
    opened: Opened,
}

impl Consoles {
    pub fn new(hub: ConsoleHub) -> Self {
        Self { hub }
    }

    /// Opens the console of a VM.
    ///
    /// Errors: `FailedPrecondition` in a phase without a console; `Unavailable` if the host is not connected.
    pub async fn open(&self, vm: &Vm, input: Typed) -> Result<Session, Error> {
        let phase = vm.status.phase;
        if ![Phase::Starting, Phase::Running, Phase::Stopping].contains(&phase) {
            return Err(Error::FailedPrecondition(format!(
                "VM '{}' is {}: it has a console when it is STARTING, RUNNING or STOPPING",
                vm.meta.name,
                phase.as_str()
            )));
        }
        let opened = self.hub.open(&vm.node, vm.id).await?;
        Ok(Session {
            input: Some(input),
            opened,
        })
    }
}

impl Session {
    /// The next output, while what is typed is passed on. `None`: the owner's connection has ended.
    ///
    /// Errors: `FailedPrecondition` with why the console has ended; those of what was typed.
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
                    Some(typed) => self.opened.input(typed?).await?,
                    None => self.input = None,
                },
            }
        }
    }
}

/// What the owner sends next; never answers once the owner has ended its side.
async fn next_input(input: &mut Option<Typed>) -> Option<Result<Vec<u8>, Error>> {
    match input {
        Some(typed) => typed.next().await,
        None => std::future::pending().await,
    }
}
