use std::net::Ipv4Addr;

use photon_resource::{Labels, NewMeta, PrincipalId, Time};

use super::*;
use crate::model::AddressRange;

pub fn network(name: &str) -> ExternalNetwork {
    let address = Ipv4Addr::new(203, 0, 113, 10);
    ExternalNetwork {
        id: ExternalNetworkId::generate(),
        owner: PrincipalId::generate(),
        name: name.into(),
        description: String::new(),
        labels: Labels::new(),
        cidr: "203.0.113.0/24".parse().unwrap(),
        gateway: Ipv4Addr::new(203, 0, 113, 1),
        pools: vec![AddressRange {
            first: address,
            last: address,
        }],
        org_ids: BTreeSet::new(),
        created_at: Time::EPOCH,
        updated_at: Time::EPOCH,
        revision: 1,
    }
}

fn gateway(on: &ExternalNetwork) -> NatGateway {
    let meta = NewMeta {
        org_id: "acme".parse().unwrap(),
        project_id: "web".parse().unwrap(),
        owner: PrincipalId::generate(),
        name: "out".into(),
        description: String::new(),
        labels: Labels::new(),
    };
    NatGateway {
        id: NatGatewayId::generate(),
        meta: meta.into_meta(Time::EPOCH),
        vpc_id: VpcId::generate(),
        external_network_id: on.id,
        addresses: vec![on.pools[0].first],
        transit_vni: 1,
    }
}

fn host(egress: &mut Egress, name: &str, networks: &[&str]) {
    let host = GatewayHost {
        name: name.into(),
        external_networks: networks.iter().map(|it| (*it).to_owned()).collect(),
    };
    egress.set_host(name.to_owned(), Some(host));
}

fn places(egress: &Egress) -> BTreeMap<NatGatewayId, Option<String>> {
    let gateways = egress.gateways.values();
    gateways
        .map(|it| (it.id, egress.host_of(it).map(str::to_owned)))
        .collect()
}

#[test]
fn gateways_are_spread_and_few_move_when_a_host_comes() {
    let mut egress = Egress::default();
    let uplink = network("uplink");
    egress.set_network(uplink.id, Some(uplink.clone()));
    for _ in 0..300 {
        let gateway = gateway(&uplink);
        egress.set_gateway(gateway.id, Some(gateway));
    }
    assert!(places(&egress).values().all(Option::is_none));
    host(&mut egress, "n1", &["uplink"]);
    host(&mut egress, "n2", &["uplink", "backup"]);
    host(&mut egress, "n3", &["backup"]);
    let before = places(&egress);
    let on = |places: &BTreeMap<_, Option<String>>, host: &str| {
        let hosts = places.values();
        hosts.filter(|it| it.as_deref() == Some(host)).count()
    };
    assert_eq!(on(&before, "n1") + on(&before, "n2"), 300);
    assert!(on(&before, "n1") > 100 && on(&before, "n2") > 100);
    assert_eq!(egress.gateways_on("n1").count(), on(&before, "n1"));
    assert_eq!(egress.gateways_on("n3").count(), 0);

    // Only to the one that came.
    host(&mut egress, "n4", &["uplink"]);
    let after = places(&egress);
    assert!(on(&after, "n4") > 50);
    let moved = before.iter().filter(|(id, host)| after[id] != **host);
    assert!(
        moved
            .clone()
            .all(|(id, _)| after[id].as_deref() == Some("n4"))
    );
    egress.set_host("n4".into(), None);
    assert_eq!(places(&egress), before);
}
