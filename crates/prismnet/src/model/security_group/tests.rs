use proptest::prelude::*;

use super::*;

fn ingress(traffic: Traffic, remote: &str) -> NewRule {
    NewRule {
        direction: Direction::Ingress,
        traffic,
        remote: Remote::parse_cidr(remote).unwrap(),
        description: String::new(),
    }
}

#[test]
fn port_ranges_are_whole_and_in_order() {
    assert_eq!(PortRange::parse(0, 0).unwrap(), PortRange::ALL);
    assert_eq!(
        PortRange::parse(22, 22).unwrap(),
        PortRange {
            first: 22,
            last: 22
        }
    );
    assert!(PortRange::parse(1, 65535).is_ok());
    for (min, max, text) in [
        (0, 80, "port_min '0'"),
        (80, 0, "port_max '0'"),
        (80, 65536, "port_max '65536'"),
        (90, 80, "at least port_min (90)"),
    ] {
        let error = PortRange::parse(min, max).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn remote_networks_are_true_networks() {
    for text in ["0.0.0.0/0", "::/0", "203.0.113.7/32", "fd00::/8"] {
        Remote::parse_cidr(text).unwrap();
    }
    for (text, expected) in [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("fd00::1/64", "fd00::/64"),
        ("10.0.0.1", "CIDR form"),
        ("", "CIDR form"),
    ] {
        let error = Remote::parse_cidr(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn without_egress_rules_everything_goes_out() {
    let web = || {
        ingress(
            Traffic::Tcp(PortRange {
                first: 80,
                last: 80,
            }),
            "0.0.0.0/0",
        )
    };
    let rules = NewSecurityGroup::into_rules(vec![web()]).unwrap();
    assert_eq!(rules.len(), 2);
    assert!(NewRule::everything_out().same_as(&rules[0]));

    let out = NewRule {
        direction: Direction::Egress,
        ..web()
    };
    let rules = NewSecurityGroup::into_rules(vec![out, web()]).unwrap();
    assert_eq!(rules.len(), 2);
    assert!(
        !rules
            .iter()
            .any(|rule| NewRule::everything_out().same_as(rule))
    );
}

#[test]
fn the_same_rule_twice_is_refused_and_so_is_one_too_many() {
    let rule = ingress(Traffic::Icmp, "10.0.0.0/8");
    let error = NewSecurityGroup::into_rules(vec![rule.clone(), rule]).unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");

    let many = (1..=MAX_RULES as u16)
        .map(|port| {
            ingress(
                Traffic::Udp(PortRange {
                    first: port,
                    last: port,
                }),
                "0.0.0.0/0",
            )
        })
        .collect();
    let error = NewSecurityGroup::into_rules(many).unwrap_err();
    let limit = MAX_RULES as u64;
    assert!(
        matches!(error, Error::QuotaExceeded { used, limit: most, .. } if (used, most) == (limit, limit)),
        "{error}"
    );
}

#[test]
fn rules_that_overlap_too_often_are_refused() {
    let nested = |n: u16| {
        let ports = PortRange {
            first: 1 + n,
            last: 60_000 - n,
        };
        ingress(Traffic::Tcp(ports), &format!("10.{n}.1.1/32"))
    };
    let error = NewSecurityGroup::into_rules((0..250).map(nested).collect()).unwrap_err();
    let Error::QuotaExceeded { quota, limit, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((*quota, *limit), ("security_group_cells", 4000), "{error}");
    // As many that are apart are well.
    let apart = |n: u16| {
        let ports = PortRange {
            first: 1 + 10 * n,
            last: 5 + 10 * n,
        };
        ingress(Traffic::Tcp(ports), &format!("10.{n}.1.1/32"))
    };
    NewSecurityGroup::into_rules((0..249).map(apart).collect()).unwrap();
}

#[test]
fn rules_name_a_bounded_number_of_groups() {
    let of = |group| NewRule {
        remote: Remote::Group(group),
        ..ingress(Traffic::Icmp, "10.0.0.0/8")
    };
    let groups: Vec<_> = (0..=MAX_REMOTE_GROUPS)
        .map(|_| SecurityGroupId::generate())
        .collect();
    let rules = |count: usize| groups[..count].iter().map(|group| of(*group)).collect();
    let mut most: Vec<NewRule> = rules(MAX_REMOTE_GROUPS);
    // A further rule of a group that is named already.
    most.push(NewRule {
        traffic: Traffic::Any,
        ..of(groups[0])
    });
    NewSecurityGroup::into_rules(most).unwrap();
    let error = NewSecurityGroup::into_rules(rules(MAX_REMOTE_GROUPS + 1)).unwrap_err();
    assert!(matches!(error, Error::ResourceExhausted(_)), "{error}");
}

#[test]
fn the_default_group_lets_its_own_in_and_everything_out() {
    let id = SecurityGroupId::generate();
    let rules = SecurityGroup::default_rules(id);
    let ingress: Vec<_> = rules
        .iter()
        .filter(|rule| rule.direction == Direction::Ingress)
        .map(|rule| rule.remote)
        .collect();
    assert_eq!(ingress, [Remote::Group(id)]);
    assert!(
        rules
            .iter()
            .any(|rule| NewRule::everything_out().same_as(rule))
    );
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC*", min: u32, max: u32) {
        let _ = Remote::parse_cidr(&text);
        if let Ok(range) = PortRange::parse(min, max) {
            prop_assert!(range.first >= 1 && range.first <= range.last);
        }
    }
}
