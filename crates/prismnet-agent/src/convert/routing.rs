//! Routes and peerings.

use ipnet::Ipv4Net;
use photon_api::prismnet::v1 as api;

use super::{Reader, Refused, value};
use crate::plan::{Peering, PeeringSide, Subnet, Way};

/// One that leads where it can't be understood leads nowhere. What is in a subnet is reached directly.
pub(super) fn route(subnets: &[Subnet], route: &api::DesiredRoute) -> Option<(Ipv4Net, Way)> {
    use api::desired_route::Way as Wire;
    let Ok(net) = route.destination.parse::<Ipv4Net>() else {
        let text = &route.destination;
        tracing::warn!(route = route.id, text, "not a network: no such route");
        return None;
    };
    if let Some(subnet) = subnets.iter().find(|subnet| subnet.net.contains(&net)) {
        tracing::warn!(route = route.id, %net, subnet = %subnet.id, "a subnet's addresses: no such route");
        return None;
    }
    let way = match &route.way {
        Some(Wire::PortAddress(text)) => text.parse().map_or(Way::Nowhere, Way::Port),
        Some(Wire::NatGateway(true)) => Way::NatGateway,
        Some(Wire::NatGateway(false)) | None => Way::Nowhere,
    };
    Some((net.trunc(), way))
}

/// Errors: what can't be understood, VPCs with addresses in common, a name that another has.
pub(super) fn peering(
    reader: &mut Reader,
    peering: &api::DesiredPeering,
) -> Result<Peering, Refused> {
    let side = |side: &api::DesiredPeeringSide| {
        Ok(PeeringSide {
            id: value("peering's id", &side.id)?,
            vpc: value("VPC id", &side.vpc_id)?,
            net: value::<Ipv4Net>("VPC's network", &side.cidr)?.trunc(),
        })
    };
    let [one, other] = peering.sides.as_slice() else {
        return Err(Refused::NotOne {
            what: "pair of VPCs",
            text: format!("{} of them", peering.sides.len()),
        });
    };
    let sides = [side(one)?, side(other)?];
    let [one, other] = [&sides[0].net, &sides[1].net];
    if one.contains(other) || other.contains(one) {
        return Err(Refused::Overlap {
            one: *one,
            other: *other,
        });
    }
    for side in &sides {
        reader.own_name(side.interface())?;
    }
    Ok(Peering { sides })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::plan::tests::small;

    #[test]
    fn a_route_whose_way_is_not_understood_leads_nowhere() {
        use api::desired_route::Way as Wire;
        let subnets = &small().vpcs[0].subnets;
        let read = |destination: &str, way| {
            let wire = api::DesiredRoute {
                id: "r".into(),
                destination: destination.into(),
                way,
            };
            route(subnets, &wire).map(|(net, way)| (net.to_string(), way))
        };
        let to = |text: &str| Some(Wire::PortAddress(text.into()));
        let lab = || "192.168.0.0/16".to_owned();
        let port = Way::Port(Ipv4Addr::new(10, 0, 1, 12));
        assert_eq!(read(&lab(), to("10.0.1.12")), Some((lab(), port)));
        assert_eq!(read(&lab(), to("fw")), Some((lab(), Way::Nowhere)));
        assert_eq!(read(&lab(), None), Some((lab(), Way::Nowhere)));
        let gateway = Some(Wire::NatGateway(true));
        assert_eq!(read(&lab(), gateway), Some((lab(), Way::NatGateway)));
        assert_eq!(read("lab", to("10.0.1.12")), None);
        // A subnet's own addresses are reached directly, whatever is told.
        for within in ["10.0.1.0/24", "10.0.1.64/26"] {
            assert_eq!(read(within, to("10.0.1.12")), None);
        }
    }

    #[test]
    fn a_peering_has_two_sides_without_an_address_in_common() {
        let side = |number: u8, cidr: &str| api::DesiredPeeringSide {
            id: format!("00000000-0000-0000-0000-0000000000{number:02x}"),
            vpc_id: format!("00000000-0000-0000-0000-0000000001{number:02x}"),
            cidr: cidr.into(),
        };
        let read = |sides: Vec<api::DesiredPeeringSide>| {
            let wire = api::DesiredPeering {
                id: "p".into(),
                sides,
            };
            peering(&mut Reader::default(), &wire)
        };
        let one = || side(1, "10.0.0.0/16");
        let read_one = read(vec![one(), side(2, "10.1.0.0/16")]).unwrap();
        assert_eq!(read_one.sides[1].net.to_string(), "10.1.0.0/16");
        for (sides, text) in [
            (vec![one()], "pair of VPCs '1 of them'"),
            (vec![one(), side(2, "10.0.7.0/24")], "addresses in common"),
            (vec![one(), side(1, "10.1.0.0/16")], "taken by another"),
            (vec![one(), side(2, "10.1.0.0")], "VPC's network '10.1.0.0'"),
        ] {
            let error = read(sides).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
