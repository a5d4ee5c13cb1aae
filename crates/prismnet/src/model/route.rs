//! A route: where a VPC sends what is for addresses that are not in its subnets.

use ipnet::Ipv4Net;
use photon_resource::{Error, Meta, NatGatewayId, NewMeta, PortId, RouteId, VpcId};

use super::{Subnet, Vpc};

/// As many routes as one VPC may have: each is in the kernel's table on every host of the VPC.
pub const MAX_ROUTES: usize = 100;

/// What a port needs that is to send on for others.
pub const DISABLE_SOURCE_CHECK: &str = "disableSourceCheck";

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub id: RouteId,
    pub meta: Meta,
    pub vpc_id: VpcId,
    /// No other route of the VPC has it.
    pub destination: Ipv4Net,
    pub target: RouteTarget,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// To a port of the VPC. One that went with its VM is not there any more: then it leads nowhere.
    Port(PortId),
    /// To the VPC's gateway.
    NatGateway(NatGatewayId),
    /// Nowhere.
    Blackhole,
}

/// A route to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoute {
    pub meta: NewMeta,
    /// Id or name of the VPC.
    pub vpc: String,
    pub destination: Ipv4Net,
    pub target: NewRouteTarget,
}

/// Where it is to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewRouteTarget {
    /// To the port of this id or name.
    Port(String),
    NatGateway,
    Blackhole,
}

impl NewRoute {
    /// Whether a VPC with these subnets may lead this elsewhere.
    ///
    /// Errors: `FailedPrecondition` for addresses of a subnet, `InvalidArgument` for others of the VPC that do not go to a port.
    pub fn fits(&self, vpc: &Vpc, subnets: &[Subnet]) -> Result<(), Error> {
        let destination = self.destination;
        expect_no_subnet(destination, subnets)?;
        if vpc.cidr.contains(&destination) && !matches!(self.target, NewRouteTarget::Port(_)) {
            let expected = format!(
                "a network outside of {}, the range of VPC '{}': inside it a route leads to a port alone",
                vpc.cidr, vpc.meta.name
            );
            return Err(Error::invalid("destination", destination, expected));
        }
        Ok(())
    }
}

/// Errors: `FailedPrecondition` naming the subnet that the destination is in.
fn expect_no_subnet(destination: Ipv4Net, subnets: &[Subnet]) -> Result<(), Error> {
    let within = |subnet: &&Subnet| subnet.cidr.contains(&destination);
    let Some(subnet) = subnets.iter().find(within) else {
        return Ok(());
    };
    Err(Error::FailedPrecondition(format!(
        "{destination} is addresses of subnet '{}' ({}), which are reached directly: a route may lead a wider network \
         elsewhere, or one outside of the subnets",
        subnet.meta.name, subnet.cidr
    )))
}

#[cfg(test)]
mod tests {
    use photon_resource::{Labels, PrincipalId, SubnetId, Time};

    use super::super::NewSubnet;
    use super::*;

    fn meta(name: &str) -> NewMeta {
        NewMeta {
            org_id: "acme".parse().unwrap(),
            project_id: "web".parse().unwrap(),
            owner: PrincipalId::generate(),
            name: name.into(),
            description: String::new(),
            labels: Labels::new(),
        }
    }

    fn judge(destination: &str, target: NewRouteTarget) -> Result<(), String> {
        let vpc = Vpc {
            id: VpcId::generate(),
            meta: meta("main").into_meta(Time::EPOCH),
            cidr: "10.0.0.0/16".parse().unwrap(),
            ipv6_cidr: None,
            table: 1000,
        };
        let cidr = "10.0.1.0/24".parse().unwrap();
        let subnet = Subnet {
            id: SubnetId::generate(),
            vpc_id: vpc.id,
            meta: meta("front").into_meta(Time::EPOCH),
            cidr,
            gateway: NewSubnet::parse_gateway(cidr, "").unwrap(),
            dhcp_enabled: true,
            dns_servers: Vec::new(),
            ipv6: None,
            vni: 7,
        };
        let new = NewRoute {
            meta: meta("r"),
            vpc: "main".into(),
            destination: destination.parse().unwrap(),
            target,
        };
        new.fits(&vpc, &[subnet]).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_in_a_subnet_is_reached_directly() {
        let port = || NewRouteTarget::Port("fw".into());
        for destination in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.0.0/16",
            "10.0.2.0/24",
            "10.0.0.0/23",
        ] {
            judge(destination, port()).unwrap();
        }
        for destination in ["10.0.1.0/24", "10.0.1.64/26", "10.0.1.9/32"] {
            let error = judge(destination, port()).unwrap_err();
            assert!(
                error.contains("addresses of subnet 'front' (10.0.1.0/24)"),
                "{error}"
            );
        }
    }

    #[test]
    fn inside_the_vpc_a_route_leads_to_a_port_alone() {
        for target in [NewRouteTarget::NatGateway, NewRouteTarget::Blackhole] {
            for destination in ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32"] {
                judge(destination, target.clone()).unwrap();
            }
            for destination in ["10.0.0.0/16", "10.0.2.0/24"] {
                let error = judge(destination, target.clone()).unwrap_err();
                assert!(error.contains("outside of 10.0.0.0/16"), "{error}");
            }
        }
    }
}
