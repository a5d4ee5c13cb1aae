//! The routes of a VPC, beside those to its own subnets: which interface each goes by. Pure.
//!
//! networkd keeps them in the VRF's table, with the file of the bridge that they go by. What leads nowhere is in that of the VRF:
//! an entry of its own, as what is not there would go by a wider route, around what the tenant put in its way.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::desired::{Port, Subnet, Vpc, Way};

/// All that nothing else is said of.
pub const DEFAULT: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);

/// What goes by the bridge of a subnet of the VPC, and who takes it there: a port, or the NAT gateway where the subnet is the
/// segment to it.
pub fn by(vpc: &Vpc, subnet: &Subnet) -> Vec<(Ipv4Net, Ipv4Addr)> {
    let through = |way: &Way| match (way, subnet.default_via) {
        (Way::Port(address), None) => subnet.net.contains(address).then_some(*address),
        (Way::NatGateway, Some(gateway)) => Some(gateway),
        _ => None,
    };
    let routes = vpc.routes.iter();
    let routes = routes.filter_map(|(net, way)| Some((*net, through(way)?)));
    // What nothing else is said of goes to the gateway.
    let unsaid = !vpc.routes.contains_key(&DEFAULT);
    let usual = subnet.default_via.filter(|_| unsaid);
    usual
        .map(|via| (DEFAULT, via))
        .into_iter()
        .chain(routes)
        .collect()
}

/// What goes to ports by the bridge of a subnet.
pub fn to_ports(vpc: &Vpc, subnet: &Subnet) -> Vec<Ipv4Net> {
    let tenants = subnet.default_via.is_none();
    let by = by(vpc, subnet).into_iter().filter(|_| tenants);
    by.map(|(net, _)| net).collect()
}

/// What goes nowhere: it is to be so, or who would take it is not reached from here.
pub fn nowhere(vpc: &Vpc) -> Vec<Ipv4Net> {
    let subnets = vpc.subnets.iter();
    let led: Vec<Ipv4Net> = subnets
        .flat_map(|subnet| by(vpc, subnet))
        .map(|(net, _)| net)
        .collect();
    let all = vpc.routes.keys();
    all.filter(|net| !led.contains(net)).copied().collect()
}

/// The port of this host behind which an address is that is none of the VPC's own: it sends and receives for it.
pub fn in_front_of(vpc: &Vpc, address: IpAddr) -> Option<&Port> {
    let IpAddr::V4(address) = address else {
        return None;
    };
    let mut subnets = vpc.subnets.iter();
    if subnets.any(|subnet| subnet.net.contains(&address)) {
        return None;
    }
    let routes = vpc.routes.iter();
    let of_it = routes.filter(|(net, _)| net.contains(&address));
    let (_, way) = of_it.max_by_key(|(net, _)| net.prefix_len())?;
    let Way::Port(port) = way else {
        return None;
    };
    let mut ports = vpc.subnets.iter().flat_map(|subnet| &subnet.ports);
    ports.find(|it| it.address == *port)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small, with_gateway};
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn routed(routes: &[(&str, Way)]) -> Vpc {
        let mut desired = small();
        with_gateway(&mut desired);
        let mut vpc = desired.vpcs.remove(0);
        vpc.routes = routes.iter().map(|(text, way)| (net(text), *way)).collect();
        vpc
    }

    const APPLIANCE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 12);
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 64, 2);

    #[test]
    fn each_route_goes_by_one_interface_or_nowhere() {
        let vpc = routed(&[
            ("192.168.0.0/16", Way::Port(APPLIANCE)),
            ("198.51.100.0/24", Way::NatGateway),
            ("192.0.2.0/24", Way::Nowhere),
            // Of no subnet here.
            ("192.0.3.0/24", Way::Port(Ipv4Addr::new(10, 7, 7, 7))),
        ]);
        let [front, transit] = [&vpc.subnets[0], &vpc.subnets[1]];
        assert_eq!(by(&vpc, front), [(net("192.168.0.0/16"), APPLIANCE)]);
        assert_eq!(
            by(&vpc, transit),
            [(DEFAULT, GATEWAY), (net("198.51.100.0/24"), GATEWAY)]
        );
        assert_eq!(to_ports(&vpc, front), [net("192.168.0.0/16")]);
        assert_eq!(to_ports(&vpc, transit), []);
        assert_eq!(nowhere(&vpc), [net("192.0.2.0/24"), net("192.0.3.0/24")]);
    }

    #[test]
    fn a_route_for_all_takes_the_place_of_the_usual_one() {
        for (way, by_front, by_transit, dropped) in [
            (Way::Port(APPLIANCE), Some(APPLIANCE), None, false),
            (Way::NatGateway, None, Some(GATEWAY), false),
            (Way::Nowhere, None, None, true),
        ] {
            let vpc = routed(&[("0.0.0.0/0", way)]);
            let default = |via: Option<Ipv4Addr>| via.map(|via| (DEFAULT, via)).into_iter();
            assert!(by(&vpc, &vpc.subnets[0]).into_iter().eq(default(by_front)));
            assert!(
                by(&vpc, &vpc.subnets[1])
                    .into_iter()
                    .eq(default(by_transit))
            );
            assert_eq!(nowhere(&vpc).contains(&DEFAULT), dropped);
        }
        // Without its gateway on this host, what is for it does not go around it.
        let mut vpc = routed(&[
            ("0.0.0.0/0", Way::Port(APPLIANCE)),
            ("198.51.100.0/24", Way::NatGateway),
        ]);
        vpc.subnets.pop();
        assert_eq!(nowhere(&vpc), [net("198.51.100.0/24")]);
    }

    #[test]
    fn the_port_in_front_of_an_address_is_that_of_the_longest_prefix() {
        let other = Ipv4Addr::new(10, 0, 1, 11);
        let vpc = routed(&[
            ("0.0.0.0/0", Way::Port(APPLIANCE)),
            ("192.168.0.0/16", Way::Port(other)),
            ("192.168.7.0/24", Way::Nowhere),
        ]);
        let front = |text: &str| in_front_of(&vpc, text.parse().unwrap()).map(|it| it.address);
        assert_eq!(front("8.8.8.8"), Some(APPLIANCE));
        assert_eq!(front("192.168.1.1"), Some(other));
        assert_eq!(front("192.168.7.1"), None);
        assert_eq!(front("10.0.1.99"), None);
        assert_eq!(front("fd00::1"), None);
    }
}
