//! What becomes of packets in VPCs.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};
use photon_api::plasmavmc::v1::GetVmRequest;
use photon_api::prismnet::v1::{
    GetPortRequest, ListPortsRequest, Port, Protocol, TraceRequest, TraceResponse, TraceStep,
    TraceVerdict,
};

use super::port::Ports;
use super::vm::Vms;
use crate::completion::names;
use crate::error::Failure;
use crate::noun::Desk;

/// Questions about networks.
#[derive(Subcommand)]
pub enum NetworkCommand {
    /// Say what becomes of a packet of a VM: which rule, route, gateway or missing thing decides. Nothing is sent.
    Trace(Trace),
}

/// Whose packet, and to whom.
#[derive(Args)]
pub struct Trace {
    /// VM that sends (name or id), by its first port.
    #[arg(long, value_name = "VM", add = names::<Vms>(), required_unless_present = "from_port")]
    from: Option<String>,
    /// Port that sends (name or id).
    #[arg(long, value_name = "PORT", add = names::<Ports>(), conflicts_with = "from")]
    from_port: Option<String>,
    /// To which address, and port: 10.0.1.10:443, 8.8.8.8, [fd00::10]:443.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = destination)]
    to: Destination,
    /// Of which protocol. Default: TCP where a port is given, else ICMP.
    #[arg(long, value_enum)]
    protocol: Option<Kind>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Tcp,
    Udp,
    Icmp,
}

#[derive(Clone, Copy)]
struct Destination {
    address: IpAddr,
    /// 0: none.
    port: u16,
}

fn destination(text: &str) -> Result<Destination, String> {
    if let Ok(address) = text.parse() {
        return Ok(Destination { address, port: 0 });
    }
    let both: Result<std::net::SocketAddr, _> = text.parse();
    both.map(|both| Destination {
        address: both.ip(),
        port: both.port(),
    })
    .map_err(|_| "an address such as 10.0.1.10, 10.0.1.10:443 or [fd00::10]:443".to_owned())
}

/// `photon network`
pub async fn run(command: NetworkCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        NetworkCommand::Trace(trace) => run_trace(trace, desk).await,
    }
}

async fn run_trace(flags: Trace, desk: &Desk<'_>) -> Result<(), Failure> {
    let port = sender(&flags, desk).await?;
    let protocol = match flags.protocol {
        Some(Kind::Tcp) => Protocol::Tcp,
        Some(Kind::Udp) => Protocol::Udp,
        Some(Kind::Icmp) => Protocol::Icmp,
        None => Protocol::Unspecified,
    };
    let request = TraceRequest {
        id: port.id,
        address: flags.to.address.to_string(),
        protocol: protocol.into(),
        port: flags.to.port.into(),
        ..Default::default()
    };
    let trace = desk.call(request).await?;
    if !desk.output.for_people() {
        return desk.output.message("prismnet.v1.TraceResponse", &trace);
    }
    for (number, step) in trace.steps.iter().enumerate() {
        desk.output
            .line(&format!("{}. {}", number + 1, shown(step)))?;
    }
    desk.output.line(&verdict(&trace))
}

/// The port that is named, or the first of the VM.
async fn sender(flags: &Trace, desk: &Desk<'_>) -> Result<Port, Failure> {
    if let Some(port) = &flags.from_port {
        return desk.find::<GetPortRequest>("port", port).await;
    }
    let name = flags.from.as_deref().unwrap_or_default();
    let vm = desk.find::<GetVmRequest>("VM", name).await?;
    let spec = vm.spec.unwrap_or_default();
    let ports = desk
        .all(ListPortsRequest {
            device_id: vm.id,
            ..Default::default()
        })
        .await?;
    let mut interfaces = spec.network.iter();
    let first = interfaces.find_map(|it| ports.iter().find(|port| port.id == it.port_id));
    first
        .or(ports.first())
        .cloned()
        .ok_or_else(|| Failure::Local(format!("VM {name} has no port: name one with --from-port")))
}

fn shown(step: &TraceStep) -> String {
    match step.name.as_str() {
        "" => format!("{}: {}", step.kind, step.text),
        name => format!("{} {name}: {}", step.kind, step.text),
    }
}

fn verdict(trace: &TraceResponse) -> String {
    let by = trace.steps.last().map_or_else(String::new, |step| {
        let id = match step.id.as_str() {
            "" => String::new(),
            id => format!(" ({id})"),
        };
        match step.name.as_str() {
            "" => format!("{}{id}", step.kind),
            name => format!("{} {name}{id}", step.kind),
        }
    });
    match trace.verdict() {
        TraceVerdict::Allowed => "allowed".to_owned(),
        TraceVerdict::Beyond => format!("allowed as far as this project sees; then {by} decides"),
        TraceVerdict::Dropped | TraceVerdict::Unspecified => format!("dropped by {by}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_an_address_with_or_without_a_port() {
        for (text, address, port) in [
            ("10.0.1.10", "10.0.1.10", 0),
            ("10.0.1.10:443", "10.0.1.10", 443),
            ("fd00::10", "fd00::10", 0),
            ("[fd00::10]:443", "fd00::10", 443),
        ] {
            let found = destination(text).unwrap();
            assert_eq!(
                (found.address.to_string().as_str(), found.port),
                (address, port)
            );
        }
        for text in ["", "web", "10.0.1.10:", "10.0.1.10:70000"] {
            assert!(destination(text).is_err(), "{text}");
        }
    }
}
