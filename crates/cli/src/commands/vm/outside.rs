//! `photon vm create --floating-ip`: an address outside, and a way in for ssh.

use photon_api::plasmavmc::v1::Vm;
use photon_api::prismnet::v1::{
    AssociateFloatingIpRequest, CreateFloatingIpRequest, CreateSecurityGroupRequest,
    DeleteFloatingIpRequest, Direction, FloatingIp, GetSecurityGroupRequest, Protocol,
    SecurityGroupRule,
};
use tonic::Code;

use crate::commands::present;
use crate::error::Failure;
use crate::noun::{Desk, Once};
use crate::output::tell;

/// The group that lets ssh in, which is made if the project has none.
pub const SSH_GROUP: &str = "ssh";

/// Makes sure that there is the group, as it is.
pub async fn ssh_group(once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    match desk
        .find::<GetSecurityGroupRequest>("security group", SSH_GROUP)
        .await
    {
        Ok(_) => return Ok(()),
        Err(failure) if failure.code() == Some(Code::NotFound) => {}
        Err(failure) => return Err(failure),
    }
    let rule = SecurityGroupRule {
        direction: Direction::Ingress.into(),
        protocol: Protocol::Tcp.into(),
        port_min: 22,
        port_max: 22,
        ..Default::default()
    };
    let request = CreateSecurityGroupRequest {
        name: SSH_GROUP.into(),
        description: "Lets ssh in from everywhere".into(),
        rules: vec![rule],
        ..Default::default()
    };
    match desk.change(&once.step("security-group"), request).await {
        Ok(_) => {
            tell!("security group {SSH_GROUP} made: it lets ssh in, from everywhere");
            Ok(())
        }
        // Somebody else was a moment earlier.
        Err(failure) if failure.code() == Some(Code::AlreadyExists) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Takes an address with the VM's name, of the only external network or of the one that is named.
pub async fn take(
    name: &str,
    network: &str,
    once: &Once,
    desk: &Desk<'_>,
) -> Result<FloatingIp, Failure> {
    let request = CreateFloatingIpRequest {
        name: name.to_owned(),
        external_network_id: network.to_owned(),
        ..Default::default()
    };
    desk.make(&once.step("floating-ip"), request).await
}

/// Gives it back, as the VM was not made. What can't be is said.
pub async fn give_back(floating: &FloatingIp, once: &Once, desk: &Desk<'_>) {
    let request = DeleteFloatingIpRequest {
        id: floating.id.clone(),
        ..Default::default()
    };
    if let Err(failure) = desk.change(&once.step("give-back"), request).await {
        tell!(
            "note: floating IP {} ({}) was taken, and could not be given back: {failure}. `photon floating-ip delete {0}` does.",
            floating.name,
            floating.ip_address
        );
    }
}

/// Leads it to the VM's first interface.
pub async fn lead(
    floating: &FloatingIp,
    vm: &Vm,
    once: &Once,
    desk: &Desk<'_>,
) -> Result<(), Failure> {
    let spec = vm.spec.as_ref();
    let first = spec.and_then(|spec| spec.network.first());
    let request = AssociateFloatingIpRequest {
        id: floating.id.clone(),
        port_id: present(first, "network")?.port_id.clone(),
        ..Default::default()
    };
    match desk.change(&once.step("associate"), request).await {
        Ok(_) => {
            tell!("VM {} is reached at {}", vm.name, floating.ip_address);
            Ok(())
        }
        Err(failure) => Err(Failure::Local(format!(
            "VM {} was made, and floating IP {} ({}) does not lead to it: {failure}",
            vm.name, floating.name, floating.ip_address
        ))),
    }
}
