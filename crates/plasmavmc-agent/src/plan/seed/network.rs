//! `network-config`: how the guest sets up its interfaces (cloud-init's "Networking config version 2", which is
//! netplan's).
//!
//! What is not netplan renders less of it: cloud-init's own renderers skip `dhcp-identifier` and
//! `ipv6-address-generation`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::plan::desired::DesiredInterface;

/// Longest name of an interface in bytes: the kernel's `IFNAMSIZ` less the end of the string.
const LONGEST_NAME: usize = 15;

/// The metric of the first interface's routes; the next one's is as much again.
const METRIC: usize = 100;

/// The file's contents.
pub(super) fn config(interfaces: &[DesiredInterface]) -> Value {
    let mut ethernets = Map::new();
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
        ethernets.insert(name, ethernet);
    }
    json!({ "version": 2, "ethernets": ethernets })
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
    let name = |(index, interface): (usize, &DesiredInterface)| match by_place {
        true => format!("eth{index}"),
        false => interface.name.clone(),
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
        ethernets.iter().map(of).collect()
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
}
