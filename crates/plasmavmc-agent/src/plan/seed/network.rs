//! `network-config`: how the guest sets up its interfaces (cloud-init's "Networking config version 2", which is
//! netplan's).
//!
//! What is not netplan renders less of it: cloud-init's own renderers skip `dhcp-identifier` and
//! `ipv6-address-generation`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use photon_resource::Mac;
use serde_json::{Map, Value, json};

use crate::plan::desired::{Addressing, DesiredInterface};

/// Longest name of an interface in bytes: the kernel's `IFNAMSIZ` less the end of the string.
const LONGEST_NAME: usize = 15;

/// The metric of the first interface's routes; the next one's is as much again.
const METRIC: usize = 100;

/// The file's contents.
pub(super) fn config(interfaces: &[DesiredInterface]) -> Value {
    let mut ethernets = Map::new();
    let mut routed = Routed::default();
    for (index, (name, interface)) in names(interfaces).into_iter().zip(interfaces).enumerate() {
        let mut ethernet = json!({
            "match": { "macaddress": interface.mac },
            "set-name": name,
            "dhcp4": true,
            // As the firmware and the initial file system called it, and as no other guest does: a machine id
            // that an image was published with is that of all of its guests.
            "dhcp-identifier": "mac",
            // The port lets no other address through.
            "ipv6-address-generation": "eui64",
        });
        if interfaces.len() > 1 {
            // Each subnet's server names a router; the first interface's is the one.
            ethernet["dhcp4-overrides"] = json!({ "route-metric": METRIC * (index + 1) });
        }
        match &interface.addressing {
            Some(known) => fixed(&mut ethernet, interface, known, &mut routed),
            None => routed.ipv4 = true,
        }
        ethernets.insert(name, ethernet);
    }
    json!({ "version": 2, "ethernets": ethernets })
}

/// Whether an interface before has a default route: a second one is not written, as what is not netplan forgets its
/// metric.
#[derive(Default)]
struct Routed {
    ipv4: bool,
    ipv6: bool,
}

/// Writes the addresses that the guest does not learn on the wire: IPv4 without DHCP, IPv6 other than what it would make
/// of its MAC.
fn fixed(
    ethernet: &mut Value,
    interface: &DesiredInterface,
    known: &Addressing,
    routed: &mut Routed,
) {
    let (mut addresses, mut routes) = (Vec::new(), Vec::new());
    let mut dns: Vec<&IpAddr> = Vec::new();
    if !known.dhcp {
        ethernet["dhcp4"] = json!(false);
        addresses.push(known.address.to_string());
        if !routed.ipv4 {
            routes.push(json!({ "to": "0.0.0.0/0", "via": known.gateway }));
        }
        dns.extend(known.dns.iter().filter(|server| server.is_ipv4()));
    }
    routed.ipv4 = true;
    if let Some((address, gateway)) = &known.ipv6 {
        let made = interface.mac.parse::<Mac>();
        if made.is_ok_and(|mac| mac.ipv6_in(address.addr()) != address.addr()) {
            // With advertisements it would make itself the other address too, and might speak with that.
            ethernet["accept-ra"] = json!(false);
            addresses.push(address.to_string());
            if !routed.ipv6 {
                routes.push(json!({ "to": "::/0", "via": gateway }));
            }
            dns.extend(known.dns.iter().filter(|server| server.is_ipv6()));
        }
        routed.ipv6 = true;
    }
    if !addresses.is_empty() {
        ethernet["addresses"] = json!(addresses);
    }
    if !routes.is_empty() {
        ethernet["routes"] = json!(routes);
    }
    if !dns.is_empty() {
        ethernet["nameservers"] = json!({ "addresses": dns });
    }
}

/// Those in the spec; by their places if one of them is no name for an interface (an earlier release took `lo`), or
/// not known.
fn names(interfaces: &[DesiredInterface]) -> Vec<String> {
    let given: BTreeSet<&str> = interfaces
        .iter()
        .map(|interface| interface.name.as_str())
        .filter(|name| is_interface_name(name))
        .collect();
    let by_place = given.len() != interfaces.len();
    let name = |(index, interface): (usize, &DesiredInterface)| {
        if by_place {
            format!("eth{index}")
        } else {
            interface.name.clone()
        }
    };
    interfaces.iter().enumerate().map(name).collect()
}

/// Whether Linux takes it (`dev_valid_name`), it is not taken already, and it needs no care in a file's name.
fn is_interface_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && !["lo", "all", "default"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, last: u8) -> DesiredInterface {
        serde_json::from_value(json!({
            "tap": format!("pt{last}"), "mac": format!("fa:16:3e:00:00:{last:02x}"), "name": name,
        }))
        .unwrap()
    }

    fn named(names: &[&str]) -> Vec<(String, Value)> {
        let interfaces: Vec<_> = (1..)
            .zip(names)
            .map(|(last, name)| interface(name, last))
            .collect();
        let config = config(&interfaces);
        let ethernets = config["ethernets"].as_object().unwrap();
        assert_eq!(ethernets.len(), names.len());
        let of = |(name, ethernet): (&String, &Value)| {
            assert_eq!(ethernet["set-name"], name.as_str());
            (name.clone(), ethernet["match"]["macaddress"].clone())
        };
        let mut named: Vec<_> = ethernets.iter().map(of).collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        named
    }

    #[test]
    fn one_interface_asks_by_dhcp_and_is_known_by_its_mac() {
        assert_eq!(
            config(&[interface("eth0", 1)]),
            json!({"version": 2, "ethernets": {"eth0": {
                "match": {"macaddress": "fa:16:3e:00:00:01"},
                "set-name": "eth0",
                "dhcp4": true,
                "dhcp-identifier": "mac",
                "ipv6-address-generation": "eui64",
            }}})
        );
    }

    #[test]
    fn interfaces_have_the_names_of_the_spec() {
        let mac = |last: u8| json!(format!("fa:16:3e:00:00:{last:02x}"));
        let expected = [("lan".to_owned(), mac(1)), ("mgmt".to_owned(), mac(2))];
        assert_eq!(named(&["lan", "mgmt"]), expected);
        let crossed = [("eth0".to_owned(), mac(2)), ("eth1".to_owned(), mac(1))];
        assert_eq!(named(&["eth1", "eth0"]), crossed);
    }

    #[test]
    fn names_that_can_not_be_are_those_of_their_places() {
        let by_place = [
            ("eth0".to_owned(), json!("fa:16:3e:00:00:01")),
            ("eth1".to_owned(), json!("fa:16:3e:00:00:02")),
        ];
        for names in [
            ["lo", "lan"],
            ["eth1", ""],
            ["lan", "lan"],
            ["lan", "sixteen-bytes-xy"],
            ["lan", "a/b"],
        ] {
            assert_eq!(named(&names), by_place, "{names:?}");
        }
    }

    #[test]
    fn the_first_interface_has_the_default_route() {
        let config = config(&[interface("front", 1), interface("back", 2)]);
        let metric =
            |name: &str| config["ethernets"][name]["dhcp4-overrides"]["route-metric"].clone();
        assert_eq!((metric("front"), metric("back")), (json!(100), json!(200)));
    }

    fn addressed(name: &str, last: u8, addressing: Value) -> DesiredInterface {
        DesiredInterface {
            addressing: Some(serde_json::from_value(addressing).unwrap()),
            ..interface(name, last)
        }
    }

    #[test]
    fn without_dhcp_the_address_is_written() {
        let quiet = addressed(
            "eth0",
            1,
            json!({
                "address": "10.0.9.5/24", "gateway": "10.0.9.1", "dhcp": false,
                "dns": ["192.0.2.53", "2001:db8::53"],
            }),
        );
        let config = config(&[quiet]);
        let eth0 = &config["ethernets"]["eth0"];
        assert_eq!(eth0["dhcp4"], false);
        assert_eq!(eth0["addresses"], json!(["10.0.9.5/24"]));
        assert_eq!(
            eth0["routes"],
            json!([{"to": "0.0.0.0/0", "via": "10.0.9.1"}])
        );
        // IPv6's come with the router's advertisements.
        assert_eq!(eth0["nameservers"], json!({"addresses": ["192.0.2.53"]}));
    }

    #[test]
    fn only_the_first_interface_gets_a_route_in_writing() {
        let known = |subnet: u8, dhcp: bool| json!({"address": format!("10.0.{subnet}.5/24"), "gateway": format!("10.0.{subnet}.1"), "dhcp": dhcp});
        let routes = |first_asks: bool| {
            let config = config(&[
                addressed("eth0", 1, known(1, first_asks)),
                addressed("eth1", 2, known(2, false)),
            ]);
            ["eth0", "eth1"].map(|name| config["ethernets"][name]["routes"].clone())
        };
        let first = json!([{"to": "0.0.0.0/0", "via": "10.0.1.1"}]);
        assert_eq!(routes(false), [first, Value::Null]);
        assert_eq!(routes(true), [Value::Null, Value::Null]);
    }

    #[test]
    fn an_ipv6_address_that_was_asked_for_is_the_only_one() {
        let dual = |address: &str| {
            let interface = addressed(
                "eth0",
                1,
                json!({
                    "address": "10.0.1.5/24", "gateway": "10.0.1.1", "dhcp": true,
                    "dns": ["192.0.2.53", "2001:db8::53"],
                    "ipv6": [address, "fd00:1:0:1::1"],
                }),
            );
            config(&[interface])["ethernets"]["eth0"].clone()
        };
        let asked = dual("fd00:1:0:1::10/64");
        assert_eq!(asked["dhcp4"], true);
        assert_eq!(asked["accept-ra"], false);
        assert_eq!(asked["addresses"], json!(["fd00:1:0:1::10/64"]));
        assert_eq!(
            asked["routes"],
            json!([{"to": "::/0", "via": "fd00:1:0:1::1"}])
        );
        assert_eq!(asked["nameservers"], json!({"addresses": ["2001:db8::53"]}));
        // That of its MAC it makes itself.
        let made = dual("fd00:1:0:1:f816:3eff:fe00:1/64");
        for key in ["accept-ra", "addresses", "routes", "nameservers"] {
            assert_eq!(made[key], Value::Null, "{key}");
        }
    }
}
