//! What PrismNET and PlasmaVMC tell. What can't be read is as if it were not there: no name comes of it.

use std::str::FromStr;

use photon_api::plasmavmc::v1 as compute;
use photon_api::prismnet::v1 as network;
use photon_resource::{Error, PortId, SubnetId, VmId};

use crate::model::{Changed, Port, Subnet, Vm};

/// Errors: its id can't be read, so that it can't even be said to be gone.
pub fn subnet(wire: &network::Subnet) -> Result<Changed, Error> {
    let id: SubnetId = wire.id.parse()?;
    let read = || {
        let optional = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let networks = [Some(wire.cidr.clone()), optional(&wire.ipv6_cidr)];
        let gateways = [Some(wire.gateway.clone()), optional(&wire.ipv6_gateway)];
        Some(Subnet {
            id,
            vpc_id: value("VPC of a subnet", &wire.vpc_id)?,
            networks: values("network of a subnet", networks.iter().flatten())?,
            gateways: values("gateway of a subnet", gateways.iter().flatten())?,
        })
    };
    Ok(Changed::Subnet(id, read()))
}

/// Names come of ports alone that VMs have. Errors: as [`subnet`].
pub fn port(wire: &network::Port) -> Result<Changed, Error> {
    let id: PortId = wire.id.parse()?;
    let of_a_vm = wire.device_type() == network::DeviceType::Vm && !wire.node.is_empty();
    let read = || {
        let addresses = [&wire.ip_address, &wire.ipv6_address];
        let addresses = addresses.into_iter().filter(|text| !text.is_empty());
        Some(Port {
            id,
            vpc_id: value("VPC of a port", &wire.vpc_id)?,
            vm_id: value("VM of a port", &wire.device_id)?,
            node: wire.node.clone(),
            addresses: values("address of a port", addresses)?,
        })
    };
    Ok(Changed::Port(id, of_a_vm.then(read).flatten()))
}

/// Errors: as [`subnet`].
pub fn vm(wire: &compute::Vm) -> Result<Changed, Error> {
    let id: VmId = wire.id.parse()?;
    let read = || {
        let spec = wire.spec.as_ref();
        let interfaces = spec.into_iter().flat_map(|spec| &spec.network);
        // A VM that is being made has interfaces whose ports are not known yet.
        let ports = interfaces.map(|it| &it.port_id).filter(|id| !id.is_empty());
        Some(Vm {
            id,
            org_id: value("organization of a VM", &wire.org_id)?,
            project_id: value("project of a VM", &wire.project_id)?,
            name: wire.name.clone(),
            ports: values("port of a VM", ports)?,
        })
    };
    Ok(Changed::Vm(id, read()))
}

fn value<T: FromStr>(what: &'static str, text: &str) -> Option<T> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        tracing::warn!(what, text, "can't be read: there is no name for it");
    }
    parsed
}

fn values<'a, T: FromStr>(
    what: &'static str,
    texts: impl Iterator<Item = &'a String>,
) -> Option<Vec<T>> {
    texts.map(|text| value(what, text)).collect()
}
