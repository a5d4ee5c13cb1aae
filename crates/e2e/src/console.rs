//! The console of a VM by PlasmaVMC's Console call.

use anyhow::{Context, Result};
use photon_api::plasmavmc::v1::console_request::Message;
use photon_api::plasmavmc::v1::{ConsoleRequest, ConsoleResponse, Vm};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::Session;
use crate::guest::{Guest, Line};

/// An open console.
pub struct Console {
    typed: mpsc::Sender<ConsoleRequest>,
    printed: Streaming<ConsoleResponse>,
}

impl Session {
    /// Opens the console of a VM that runs the test guest.
    pub async fn guest(&self, vm: &Vm) -> Result<Guest<Console>> {
        // What it said before the console was open is not known.
        Ok(Guest::running(self.console(vm).await?))
    }

    /// Opens the console of a VM, whatever runs in it.
    pub async fn console(&self, vm: &Vm) -> Result<Console> {
        let (typed, requests) = mpsc::channel(16);
        let first = ConsoleRequest {
            message: Some(Message::VmId(vm.id.clone())),
        };
        typed.send(first).await.context("the channel is new")?;
        let printed = self
            .vms()
            .console(ReceiverStream::new(requests))
            .await
            .with_context(|| format!("cannot open the console of {}", vm.name))?
            .into_inner();
        Ok(Console { typed, printed })
    }
}

impl Line for Console {
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let request = ConsoleRequest {
            message: Some(Message::Input(bytes.to_vec())),
        };
        self.typed
            .send(request)
            .await
            .context("the console is closed")
    }

    async fn receive(&mut self) -> Result<Vec<u8>> {
        loop {
            let message = self.printed.message().await?;
            let response = message.context("the server closed the console")?;
            if !response.output.is_empty() {
                return Ok(response.output);
            }
        }
    }
}
