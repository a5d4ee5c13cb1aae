//! Consoles, between the server and the hosts.

use photon_api::plasmavmc::v1 as pb;

use crate::app::{Asked, FromHost, ToHost};

/// What a host is told of one session.
pub fn to_host(message: ToHost) -> pb::ServeConsolesResponse {
    let mut told = pb::ServeConsolesResponse {
        session: message.session,
        ..Default::default()
    };
    match message.what {
        Asked::Open(vm) => told.open_vm_id = vm.to_string(),
        Asked::Input(input) => told.input = input,
        Asked::Close => told.close = true,
        Asked::Tunnel(target) => {
            told.tunnel = Some(pb::TunnelOrder {
                port_id: target.port_id.to_string(),
                ip_address: target.address.to_string(),
                port: target.port.into(),
            });
        }
    }
    told
}

/// What a host sends of one session.
pub fn from_host(message: pb::ServeConsolesRequest) -> FromHost {
    FromHost {
        session: message.session,
        output: message.output,
        closed: message.closed.then_some(message.reason),
    }
}
