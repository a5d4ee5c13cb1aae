use std::collections::BTreeSet;

use photon_resource::{ExternalNetworkId, FloatingIpId, NatGatewayId, PeeringId, PortId, RouteId};

use super::super::tests::{
    group, meta, port, put_group, put_port, put_subnet, put_vpc, subnet, vpc,
};
use super::*;
use crate::model::{
    Association, ExternalNetwork, GatewayHost, NewRule, OtherSide, Peer, PeeringState, PortRange,
    SecurityGroup,
};
use crate::store::Changed;

/// A VPC 10.0.0.0/8 with subnet 10.0.0.0/16: `web` .0.2, `back` .0.3 and `fw` .0.4 on hosts, `idle` .0.5 on none. The group lets
/// everything out, TCP 80 in from the group, and anything in from 192.168.0.0/16.
struct Scene {
    everything: Vec<Changed>,
    vpc: VpcId,
    web: Port,
    fw: PortId,
}

fn rules() -> SecurityGroup {
    let mut made = group("default", None);
    let rule = |direction, traffic, remote| {
        NewRule {
            direction,
            traffic,
            remote,
            description: String::new(),
        }
        .into_rule()
    };
    let tcp = Traffic::Tcp(PortRange {
        first: 80,
        last: 80,
    });
    let lab = Remote::parse_cidr("192.168.0.0/16").unwrap();
    made.rules = vec![
        NewRule::everything_out().into_rule(),
        rule(Direction::Ingress, tcp, Remote::Group(made.id)),
        rule(Direction::Ingress, Traffic::Any, lab),
    ];
    made
}

impl Scene {
    fn new() -> Self {
        let vpc = vpc();
        let subnet = subnet(&vpc);
        let group = rules();
        let web = port(&subnet, &group, 2, Some("n1"));
        let fw = port(&subnet, &group, 4, Some("n3"));
        let ports = [
            web.clone(),
            port(&subnet, &group, 3, Some("n2")),
            fw.clone(),
            port(&subnet, &group, 5, None),
        ];
        let mut everything = vec![put_vpc(&vpc), put_subnet(&subnet), put_group(&group)];
        everything.extend(ports.iter().map(put_port));
        Self {
            everything,
            vpc: vpc.id,
            web,
            fw: fw.id,
        }
    }

    fn route(mut self, destination: &str, target: RouteTarget) -> Self {
        let id = RouteId::generate();
        let route = Route {
            id,
            meta: meta("r"),
            vpc_id: self.vpc,
            destination: destination.parse().unwrap(),
            target,
        };
        self.everything.push(Changed::Route(id, Some(route)));
        self
    }

    /// A NAT gateway on `uplink`, in which a host has an interface, or none.
    fn gateway(mut self, host: Option<&str>) -> Self {
        let network = ExternalNetworkId::generate();
        let id = NatGatewayId::generate();
        let gateway = NatGateway {
            id,
            meta: meta("out"),
            vpc_id: self.vpc,
            external_network_id: network,
            addresses: vec![Ipv4Addr::new(203, 0, 113, 10)],
            transit_vni: 9,
        };
        let external = ExternalNetwork {
            id: network,
            ..crate::app::node::egress::tests::network("uplink")
        };
        self.everything
            .push(Changed::ExternalNetwork(network, Some(external)));
        self.everything.push(Changed::NatGateway(id, Some(gateway)));
        if let Some(name) = host {
            let host = GatewayHost {
                name: name.into(),
                external_networks: BTreeSet::from(["uplink".to_owned()]),
            };
            self.everything
                .push(Changed::GatewayHost(name.into(), Some(host)));
        }
        self
    }

    fn floating(mut self) -> Self {
        let id = FloatingIpId::generate();
        let floating = FloatingIp {
            id,
            meta: meta("web"),
            external_network_id: ExternalNetworkId::generate(),
            address: Ipv4Addr::new(203, 0, 113, 20),
            association: Some(Association {
                port_id: self.web.id,
                vpc_id: self.vpc,
                fixed: self.web.address,
            }),
        };
        self.everything
            .push(Changed::FloatingIp(id, Some(floating)));
        self
    }

    /// An active peering with 172.16.0.0/16 of a project.
    fn peering(mut self, project: &str) -> Self {
        let [one, other] = [PeeringId::generate(), PeeringId::generate()];
        let peer = VpcId::generate();
        let nets = ["10.0.0.0/8", "172.16.0.0/16"].map(|net| net.parse().unwrap());
        let sides = [
            (one, self.vpc, peer, other, 0),
            (other, peer, self.vpc, one, 1),
        ];
        for (id, vpc, peer, other, at) in sides {
            let side = Peering {
                id,
                meta: meta("partner"),
                vpc_id: vpc,
                cidr: nets[at],
                peer: Peer {
                    org_id: "acme".parse().unwrap(),
                    project_id: project.parse().unwrap(),
                    vpc_id: peer,
                },
                other: Some(OtherSide {
                    id: other,
                    cidr: nets[1 - at],
                }),
                asked_by_peer: at == 1,
                state: PeeringState::Active,
            };
            self.everything.push(Changed::Peering(id, Some(side)));
        }
        self
    }

    /// `kind of the last step: its text`, with the verdict.
    fn ask(self, to: &str, traffic: Asked) -> (Verdict, String) {
        let inventory = Inventory::new(self.everything, flaredb::Revision::default());
        let to = to.parse().unwrap();
        let trace = inventory.trace(&self.web, Question { to, traffic });
        let last = trace.steps.last().unwrap();
        (trace.verdict, format!("{}: {}", last.kind, last.text))
    }
}

const HTTP: Asked = Asked::Tcp(80);

#[test]
fn each_thing_that_can_decide_does() {
    use Verdict::{Allowed, Beyond, Dropped};
    let scene = Scene::new;
    let fw = |scene: &Scene| RouteTarget::Port(scene.fw);
    let to_fw = |destination: &str| {
        let scene = Scene::new();
        let target = fw(&scene);
        scene.route(destination, target)
    };
    for (scene, to, traffic, verdict, decides) in [
        // Within the VPC.
        (
            scene(),
            "10.0.0.3",
            HTTP,
            Allowed,
            "security group rule: of security group 'default' lets it in from 10.0.0.2",
        ),
        (
            scene(),
            "10.0.0.3",
            Asked::Tcp(22),
            Dropped,
            "security group: no rule of security groups 'default'",
        ),
        (
            scene(),
            "10.0.0.3",
            Asked::Icmp,
            Dropped,
            "security group: no rule",
        ),
        (
            scene(),
            "10.0.0.99",
            HTTP,
            Dropped,
            "port: no port has 10.0.0.99",
        ),
        (
            scene(),
            "10.0.0.5",
            HTTP,
            Dropped,
            "port: has it, and no device has the port",
        ),
        // The router.
        (
            scene(),
            "10.0.0.1",
            Asked::Icmp,
            Allowed,
            "subnet: 10.0.0.1 is its gateway, which answers pings",
        ),
        (
            scene(),
            "10.0.0.1",
            Asked::Udp(53),
            Allowed,
            "subnet: 10.0.0.1 is its gateway, which answers for names",
        ),
        (
            scene(),
            "10.0.0.1",
            HTTP,
            Dropped,
            "subnet: 10.0.0.1 is its gateway",
        ),
        // Outside.
        (
            scene(),
            "8.8.8.8",
            HTTP,
            Dropped,
            "VPC: no subnet, route or peering of it is for 8.8.8.8",
        ),
        (
            scene().gateway(None),
            "8.8.8.8",
            HTTP,
            Dropped,
            "NAT gateway: is the way out for all else, and no host",
        ),
        (
            scene().gateway(Some("n9")),
            "8.8.8.8",
            HTTP,
            Allowed,
            "NAT gateway: it leaves the cloud from 203.0.113.10",
        ),
        (
            scene().gateway(Some("n9")).floating(),
            "8.8.8.8",
            HTTP,
            Allowed,
            "floating IP: it leaves the cloud from 203.0.113.20",
        ),
        (
            scene(),
            "fd00::1",
            HTTP,
            Dropped,
            "port: has no IPv6 address",
        ),
        // Routes: the longest prefix.
        (
            to_fw("192.168.0.0/16"),
            "192.168.1.1",
            HTTP,
            Allowed,
            "security group rule",
        ),
        (
            to_fw("192.168.0.0/16"),
            "192.168.1.1",
            Asked::Tcp(22),
            Dropped,
            "security group: no rule",
        ),
        (
            to_fw("192.168.0.0/16").route("192.168.1.0/24", RouteTarget::Blackhole),
            "192.168.1.1",
            HTTP,
            Dropped,
            "route: 192.168.1.0/24 leads nowhere",
        ),
        (
            scene().route("192.168.0.0/16", RouteTarget::Port(PortId::generate())),
            "192.168.1.1",
            HTTP,
            Dropped,
            "port: is not there any more",
        ),
        (
            scene()
                .gateway(Some("n9"))
                .route("0.0.0.0/0", RouteTarget::Blackhole),
            "8.8.8.8",
            HTTP,
            Dropped,
            "route: 0.0.0.0/0 leads nowhere",
        ),
        // Peerings.
        (
            scene().peering("other"),
            "172.16.0.9",
            HTTP,
            Beyond,
            "VPC: of another project",
        ),
        (
            scene().peering("web"),
            "172.16.0.9",
            HTTP,
            Dropped,
            "port: no port has 172.16.0.9",
        ),
        (
            scene().peering("other"),
            "172.17.0.9",
            HTTP,
            Dropped,
            "VPC: no subnet",
        ),
    ] {
        let (found, last) = scene.ask(to, traffic);
        assert!(
            found == verdict && last.starts_with(decides),
            "{to} {traffic:?}: {found:?} by '{last}', not {verdict:?} by '{decides}'"
        );
    }
}

#[test]
fn who_may_send_nothing_is_told_so() {
    let mut scene = Scene::new();
    scene.web.attachment = None;
    let (verdict, last) = scene.ask("10.0.0.3", HTTP);
    assert_eq!(verdict, Verdict::Dropped);
    assert!(last.starts_with("port: no device has it"), "{last}");
    // A group that lets nothing out.
    let mut scene = Scene::new();
    for changed in &mut scene.everything {
        if let Changed::SecurityGroup(_, Some(group)) = changed {
            group
                .rules
                .retain(|rule| rule.direction == Direction::Ingress);
        }
    }
    let (verdict, last) = scene.ask("10.0.0.3", HTTP);
    assert_eq!(verdict, Verdict::Dropped);
    assert!(last.contains("lets it out to 10.0.0.3"), "{last}");
}
