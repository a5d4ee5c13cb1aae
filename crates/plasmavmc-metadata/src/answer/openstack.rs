//! What OpenStack's Nova tells its instances ("Metadata service" of its user guide).

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Answer, BYTES, TEXT, user_data};
use crate::instance::{Instance, Interface};

pub fn answer(instance: &Instance, path: &[&str]) -> Answer {
    match path {
        [] => Answer::found(TEXT, "latest"),
        ["latest"] => {
            let mut all = vec!["meta_data.json", "network_data.json", "vendor_data.json"];
            all.extend(user_data(instance).map(|_| "user_data"));
            Answer::found(TEXT, all.join("\n"))
        }
        ["latest", "meta_data.json"] => Answer::json(&meta_data(instance)),
        ["latest", "network_data.json"] => Answer::json(&network_data(instance)),
        ["latest", "vendor_data.json"] => Answer::json(&json!({})),
        ["latest", "user_data"] => match user_data(instance) {
            Some(bytes) => Answer::found(BYTES, bytes),
            None => Answer::not_found(),
        },
        _ => Answer::not_found(),
    }
}

fn meta_data(instance: &Instance) -> Value {
    let keys = || instance.ssh_authorized_keys.iter().enumerate();
    let by_name = keys().map(|(n, key)| (format!("key-{n}"), json!(key)));
    let by_name: serde_json::Map<_, _> = by_name.collect();
    let list =
        keys().map(|(n, key)| json!({"name": format!("key-{n}"), "type": "ssh", "data": key}));
    json!({
        "uuid": instance.instance_id,
        "name": instance.name,
        "hostname": instance.hostname,
        "project_id": instance.project,
        "launch_index": 0,
        "public_keys": by_name,
        "keys": list.collect::<Vec<_>>(),
    })
}

fn network_data(instance: &Instance) -> Value {
    let interfaces = &instance.interfaces;
    let networks = interfaces.iter().enumerate();
    json!({
        "links": interfaces.iter().map(link).collect::<Vec<_>>(),
        "networks": networks.flat_map(|(n, it)| networks_of(n, it)).collect::<Vec<_>>(),
        "services": [],
    })
}

fn link(it: &Interface) -> Value {
    let mtu = (it.mtu > 0).then_some(it.mtu);
    json!({"id": it.name, "type": "phy", "ethernet_mac_address": it.mac, "mtu": mtu})
}

/// Only the first interface has a default route: a second one would be a matter of chance.
fn networks_of(n: usize, it: &Interface) -> Vec<Value> {
    let dns = |wanted: fn(&IpAddr) -> bool| {
        let servers = it.dns.iter().filter(|address| wanted(address));
        let servers = servers.map(|address| json!({"type": "dns", "address": address}));
        servers.collect::<Vec<_>>()
    };
    let route = |any: &str, gateway: IpAddr| {
        let route = json!({"network": any, "netmask": any, "gateway": gateway});
        if n == 0 { vec![route] } else { Vec::new() }
    };
    let four = if it.dhcp {
        json!({"id": format!("network{n}"), "type": "ipv4_dhcp", "link": it.name})
    } else {
        json!({
            "id": format!("network{n}"),
            "type": "ipv4",
            "link": it.name,
            "ip_address": it.address.addr(),
            "netmask": it.address.netmask(),
            "routes": route("0.0.0.0", it.gateway.into()),
            "services": dns(IpAddr::is_ipv4),
        })
    };
    let six = it.ipv6.map(|(address, gateway)| {
        json!({
            "id": format!("network{n}-ipv6"),
            "type": "ipv6",
            "link": it.name,
            "ip_address": address.addr(),
            "netmask": address.netmask(),
            "routes": route("::", gateway.into()),
            "services": dns(IpAddr::is_ipv6),
        })
    });
    [four].into_iter().chain(six).collect()
}
