use photon_resource::{Labels, Time};

use proptest::prelude::*;

use super::*;

fn meta(name: &str) -> NewMeta {
    NewMeta {
        org_id: "acme".parse().unwrap(),
        project_id: "web".parse().unwrap(),
        owner: photon_resource::PrincipalId::generate(),
        name: name.into(),
        description: String::new(),
        labels: Labels::new(),
    }
}

fn subnet(cidr: &str) -> Subnet {
    let cidr: Ipv4Net = cidr.parse().unwrap();
    Subnet {
        id: SubnetId::generate(),
        vpc_id: VpcId::generate(),
        meta: meta("front").into_meta(Time::EPOCH),
        cidr,
        gateway: NewSubnet::parse_gateway(cidr, "").unwrap(),
        dhcp_enabled: true,
        dns_servers: vec![],
        ipv6: NewSubnet::parse_ipv6(Some("fd00::/64".parse().unwrap()), "").unwrap(),
        vni: 1,
    }
}

#[test]
fn the_gateway_is_a_host_address_of_the_subnet() {
    let cidr = "10.0.1.0/24".parse().unwrap();
    let gateway = |text| NewSubnet::parse_gateway(cidr, text).map(|gateway| gateway.to_string());
    assert_eq!(gateway("").unwrap(), "10.0.1.1");
    assert_eq!(gateway("10.0.1.254").unwrap(), "10.0.1.254");
    for text in ["10.0.1.0", "10.0.1.255", "10.0.2.1", "gw", "fd00::1"] {
        let error = gateway(text).unwrap_err().to_string();
        assert!(
            error.contains(&format!("gateway '{text}'"))
                && error.contains("10.0.1.1 to 10.0.1.254"),
            "{error}"
        );
    }
}

#[test]
fn the_ipv6_gateway_defaults_to_the_first_address() {
    let cidr = Some("fd00:0:0:1::/64".parse().unwrap());
    let ipv6 =
        |text| NewSubnet::parse_ipv6(cidr, text).map(|ipv6| ipv6.unwrap().gateway.to_string());
    assert_eq!(ipv6("").unwrap(), "fd00:0:0:1::1");
    assert_eq!(ipv6("fd00:0:0:1::fe").unwrap(), "fd00:0:0:1::fe");
    assert!(ipv6("fd00:0:0:1::").is_err());
    assert!(ipv6("fd00:0:0:2::1").is_err());
    assert_eq!(NewSubnet::parse_ipv6(None, "").unwrap(), None);
    let error = NewSubnet::parse_ipv6(None, "fd00::1").unwrap_err();
    assert!(error.to_string().contains("unless ipv6_cidr"), "{error}");
}

#[test]
fn a_subnet_lies_inside_its_vpc() {
    let vpc = Vpc {
        id: VpcId::generate(),
        meta: meta("main").into_meta(Time::EPOCH),
        cidr: "10.0.0.0/16".parse().unwrap(),
        ipv6_cidr: None,
        table: 1000,
    };
    let new = |cidr: &str, ipv6: Option<&str>| {
        let cidr = cidr.parse().unwrap();
        NewSubnet {
            meta: meta("front"),
            vpc: "main".into(),
            cidr,
            gateway: NewSubnet::parse_gateway(cidr, "").unwrap(),
            dhcp_enabled: true,
            dns_servers: vec![],
            ipv6: NewSubnet::parse_ipv6(ipv6.map(|net| net.parse().unwrap()), "").unwrap(),
        }
    };
    new("10.0.1.0/24", None).fits(&vpc).unwrap();
    new("10.0.0.0/16", None).fits(&vpc).unwrap();
    for cidr in ["10.1.0.0/24", "10.0.0.0/8"] {
        let error = new(cidr, None).fits(&vpc).unwrap_err().to_string();
        assert!(error.contains("inside VPC 'main' (10.0.0.0/16)"), "{error}");
    }
    let error = new("10.0.1.0/24", Some("fd00::/64"))
        .fits(&vpc)
        .unwrap_err();
    assert!(error.to_string().contains("has no ipv6_cidr"), "{error}");
    let vpc = Vpc {
        ipv6_cidr: Some("fd00:1::/48".parse().unwrap()),
        ..vpc
    };
    new("10.0.1.0/24", Some("fd00:1:0:9::/64"))
        .fits(&vpc)
        .unwrap();
    assert!(new("10.0.1.0/24", Some("fd00:2::/64")).fits(&vpc).is_err());
}

#[test]
fn reserved_addresses_are_refused_by_name() {
    let subnet = subnet("10.0.1.0/24");
    assert_eq!(
        subnet.parse_address("10.0.1.10").unwrap(),
        Ipv4Addr::new(10, 0, 1, 10)
    );
    for (text, why) in [
        ("10.0.1.0", "network's own"),
        ("10.0.1.255", "broadcast"),
        ("10.0.1.1", "gateway"),
        ("10.0.2.1", "an address of subnet 'front' (10.0.1.0/24)"),
        ("10.0.1", "IPv4 address of 10.0.1.0/24"),
        ("fd00::7", "IPv4 address of 10.0.1.0/24"),
    ] {
        let error = subnet.parse_address(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(subnet.parse_ipv6_address("fd00::7").is_ok());
    for text in ["fd00::", "fd00::1", "fd01::7", "10.0.1.7"] {
        assert!(subnet.parse_ipv6_address(text).is_err(), "{text}");
    }
}

#[test]
fn name_servers_are_reachable_addresses_each_once() {
    let parse = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    validate_dns_servers(&parse(&["10.0.1.2", "fd00::2", "9.9.9.9"])).unwrap();
    for wrong in [
        &["0.0.0.0"][..],
        &["127.0.0.53"],
        &["224.0.0.251"],
        &["255.255.255.255"],
        &["::1"],
        &["9.9.9.9", "9.9.9.9"],
        &["10.0.0.1"; 9],
    ] {
        assert!(validate_dns_servers(&parse(wrong)).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn overlap_is_a_shared_address(a in 0u32..256, b in 0u32..256, p in 24u8..30, q in 24u8..30) {
        let net = |host: u32, prefix| {
            Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 | host), prefix).unwrap().trunc()
        };
        let (first, second) = (net(a, p), net(b, q));
        let shared = (0..256u32)
            .map(|host| Ipv4Addr::from(0x0a00_0000 | host))
            .any(|address| first.contains(&address) && second.contains(&address));
        prop_assert_eq!(subnet(&first.to_string()).overlaps(second, None), shared);
    }
}
