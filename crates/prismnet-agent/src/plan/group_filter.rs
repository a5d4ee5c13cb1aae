//! The chains of security groups in `table bridge photon`: one per group and direction, and one per set of
//! groups that ports have.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use photon_host::nft::expr::Expression;
use photon_host::nft::schema::SetType::{InetProto, InetService, Ipv4Addr as V4, Ipv6Addr as V6};
use photon_resource::SecurityGroupId;
use sha2::{Digest, Sha256};

use super::desired::{Port, Rule, Vpc};
use super::filter::statement::{
    accept, concat, destination_port, drop, ether_type, is, jump, l4proto, payload, range, text,
    within,
};
use super::filter::{Statements, Table};
use super::guest_filter::{ICMP, ICMPV6};
use super::rules::{Address, Cell, Range, by_address, by_group};

/// Which way a rule permits.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// The field with the other side's address.
    fn remote_field(self) -> &'static str {
        match self {
            Self::Ingress => "saddr",
            Self::Egress => "daddr",
        }
    }

    fn chain(self, vpc: &Vpc, group: SecurityGroupId) -> String {
        format!("{}-{}-{group}", vpc.vrf(), self.name())
    }
}

/// The chain of all ports with the same groups: each group is asked, then it is dropped. A group that is not
/// known allows nothing.
pub(super) fn profile(table: &mut Table, vpc: &Vpc, port: &Port, direction: Direction) -> String {
    let known: BTreeSet<SecurityGroupId> = port
        .groups
        .iter()
        .filter(|id| vpc.groups.contains_key(id))
        .copied()
        .collect();
    let mut digest = Sha256::new();
    for id in &known {
        digest.update(id.uuid().as_bytes());
    }
    let digest = digest.finalize();
    let short: String = digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("{}-{}-ports-{short}", vpc.vrf(), direction.name());
    let rules = known
        .iter()
        .map(|id| vec![jump(&direction.chain(vpc, *id))])
        .chain([vec![drop()]])
        .collect();
    table.chain(&name, rules);
    name
}

fn members(vpc: &Vpc, group: SecurityGroupId, family: &str) -> String {
    format!("{}-members{family}-{group}", vpc.vrf())
}

/// The sets and chains of a VPC's groups.
pub(super) fn groups(table: &mut Table, vpc: &Vpc) {
    for (id, group) in &vpc.groups {
        member_set::<Ipv4Addr>(table, &members(vpc, *id, "4"), V4, group);
        member_set::<Ipv6Addr>(table, &members(vpc, *id, "6"), V6, group);
    }
    for (id, group) in &vpc.groups {
        for (direction, rules) in [
            (Direction::Ingress, &group.ingress),
            (Direction::Egress, &group.egress),
        ] {
            let name = direction.chain(vpc, *id);
            let mut statements = Vec::new();
            address_rules::<Ipv4Addr>(table, &name, direction, rules, &mut statements);
            address_rules::<Ipv6Addr>(table, &name, direction, rules, &mut statements);
            group_rules(table, vpc, &name, direction, rules, &mut statements);
            table.chain(&name, statements);
        }
    }
}

fn member_set<A: Address>(
    table: &mut Table,
    name: &str,
    kind: photon_host::nft::schema::SetType,
    group: &super::desired::Group,
) {
    let elements = group
        .members
        .iter()
        .filter_map(A::number)
        .map(|number| text(A::text(number)))
        .collect();
    table.set(name, &[kind], false, elements);
}

/// What differs between the families in rules.
trait Family: Address {
    const PROTOCOL: &'static str;
    const ICMP: u32;
    const SUFFIX: &'static str;
    const TYPE: photon_host::nft::schema::SetType;
}

impl Family for Ipv4Addr {
    const PROTOCOL: &'static str = "ip";
    const ICMP: u32 = ICMP;
    const SUFFIX: &'static str = "4";
    const TYPE: photon_host::nft::schema::SetType = V4;
}

impl Family for Ipv6Addr {
    const PROTOCOL: &'static str = "ip6";
    const ICMP: u32 = ICMPV6;
    const SUFFIX: &'static str = "6";
    const TYPE: photon_host::nft::schema::SetType = V6;
}

fn address_rules<A: Family>(
    table: &mut Table,
    chain: &str,
    direction: Direction,
    rules: &[Rule],
    statements: &mut Vec<Statements>,
) {
    let compiled = by_address::<A>(rules);
    let remote = || payload(A::PROTOCOL, direction.remote_field());
    let mut addresses = |what: &str, ranges: &[Range<u128>], more: Vec<_>| {
        if ranges.is_empty() {
            return;
        }
        let mut rule = vec![ether_type(A::PROTOCOL)];
        rule.extend(more);
        if ranges != [A::ALL] {
            let set = format!("{chain}-{what}{}", A::SUFFIX);
            let elements = ranges
                .iter()
                .map(|(low, high)| range(A::text(*low), A::text(*high)))
                .collect();
            table.set(&set, &[A::TYPE], true, elements);
            rule.push(within(remote(), &set));
        }
        rule.push(accept());
        statements.push(rule);
    };
    addresses("any", &compiled.any, Vec::new());
    addresses(
        "icmp",
        &compiled.icmp,
        vec![is(l4proto(), Expression::Number(A::ICMP))],
    );
    // Wide networks first: they let the most pass.
    for (width, cells) in compiled.cells.iter().rev() {
        let set = format!(
            "{chain}-ports{}-{}",
            A::SUFFIX,
            A::ALL.1.count_ones() - width
        );
        let elements = cells.iter().map(cell::<A>).collect();
        table.set(&set, &[InetProto, InetService, A::TYPE], true, elements);
        statements.push(vec![
            ether_type(A::PROTOCOL),
            within(concat([l4proto(), destination_port(), remote()]), &set),
            accept(),
        ]);
    }
}

fn ports((low, high): Range<u16>) -> Expression<'static> {
    range(low.to_string(), high.to_string())
}

fn cell<A: Family>((transport, of_ports, (low, high)): &Cell) -> Expression<'static> {
    concat([
        Expression::Number(transport.number().into()),
        ports(*of_ports),
        range(A::text(*low), A::text(*high)),
    ])
}

fn group_rules(
    table: &mut Table,
    vpc: &Vpc,
    chain: &str,
    direction: Direction,
    rules: &[Rule],
    statements: &mut Vec<Statements>,
) {
    for (id, allowed) in by_group(rules) {
        if !vpc.groups.contains_key(&id) {
            continue;
        }
        let set = format!("{chain}-from-{id}");
        if !allowed.ports.is_empty() {
            let elements = allowed
                .ports
                .iter()
                .map(|(transport, range)| {
                    concat([Expression::Number(transport.number().into()), ports(*range)])
                })
                .collect();
            table.set(&set, &[InetProto, InetService], true, elements);
        }
        for (protocol, icmp, suffix) in [("ip", ICMP, "4"), ("ip6", ICMPV6, "6")] {
            let member = || {
                within(
                    payload(protocol, direction.remote_field()),
                    &members(vpc, id, suffix),
                )
            };
            if allowed.any {
                statements.push(vec![member(), accept()]);
            }
            if allowed.icmp {
                statements.push(vec![
                    is(l4proto(), Expression::Number(icmp)),
                    member(),
                    accept(),
                ]);
            }
            if !allowed.ports.is_empty() {
                statements.push(vec![
                    member(),
                    within(concat([l4proto(), destination_port()]), &set),
                    accept(),
                ]);
            }
        }
    }
}
