//! What a port and a VPC may take of the host (decision 0033).

use std::collections::BTreeMap;

use photon_host::nft::expr::{Expression, Verdict};
use photon_host::nft::schema::SetType;
use photon_host::nft::types::NfHook;

use super::desired::Desired;
use super::filter::statement::{
    Rate, accept, connections_over, counted, ct_state, drop, faster, ibridge, iif, lookup,
    not_within, oif,
};
use super::filter::{Statements, Table, target};

/// 0: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What a port may send, and what it may be sent, in bytes per second. At most [`FASTEST`].
    pub port_bytes_per_second: u64,
    /// The same, in packets per second. At most [`MOST_PACKETS`].
    pub port_packets_per_second: u64,
    /// Whether guests have a resolver at their gateways: FlashDNS' agent runs on this host.
    pub resolver: bool,
    /// What a port may ask it, in packets per second. At most [`MOST_PACKETS`].
    pub port_queries_per_second: u64,
    /// Whether guests are told what they are: plasmavmc-metadata runs on this host.
    pub metadata: bool,
    /// About how many connections of a VPC the host tracks. At most [`MOST_CONNECTIONS`].
    pub vpc_connections: u32,
    /// How many the host tracks in all (`nf_conntrack_max`); 0: it is not known. VPCs together have three quarters of it: what
    /// one VPC takes is never what another, or the host itself, finds missing.
    pub host_connections: u32,
}

/// The kernel reckons a limit of bytes in nanoseconds times bytes, in 64 bits (`nft_limit.c`): 128 Gbit/s.
pub const FASTEST: u64 = 16_000_000_000;

/// A packet a nanosecond and more it can't tell apart; this is a tenth of that.
pub const MOST_PACKETS: u64 = 100_000_000;

/// The most lists of connections that a set holds (2^20), at [`LIST`] each.
pub const MOST_CONNECTIONS: u32 = LIST << 20;

/// Connections in one list. The kernel walks a whole list for each new connection (`nf_conncount.c`), so a VPC has many
/// short ones, and each connection goes to one by the hash of its addresses and ports. Lists do not fill alike: at
/// five eighths of the limit one connection in a hundred meets a full one (Poisson's distribution of mean 20).
const LIST: u32 = 32;

impl Limits {
    /// No limits.
    pub const NONE: Self = Self {
        port_bytes_per_second: 0,
        port_packets_per_second: 0,
        resolver: false,
        port_queries_per_second: 0,
        metadata: false,
        vpc_connections: 0,
        host_connections: 0,
    };

    /// How many connections one of so many VPCs may have; 0: no limit.
    fn connections_of_each(self, vpcs: usize) -> u32 {
        if self.host_connections == 0 {
            return self.vpc_connections;
        }
        // With the number of VPCs it changes only when that doubles: with another limit counting begins anew.
        let vpcs = u32::try_from(vpcs.max(1).next_power_of_two()).unwrap_or(u32::MAX);
        let share = self.host_connections / 4 * 3 / vpcs;
        self.vpc_connections.min(share.max(1))
    }
}

/// 1 Gbit/s, 200,000 packets and 1,000 questions a second of a port; a sixteenth of the connections that our module lets a host track.
impl Default for Limits {
    fn default() -> Self {
        Self {
            port_bytes_per_second: 125_000_000,
            port_packets_per_second: 200_000,
            resolver: true,
            // About what Amazon's resolver takes of an interface.
            port_queries_per_second: 1000,
            metadata: true,
            vpc_connections: 65_536,
            host_connections: 0,
        }
    }
}

/// After the rules of security groups: what they drop is nobody's connection.
const AFTER_RULES: i32 = 1;

/// Rules for what a port sends.
pub fn sending(table: &mut Table, limits: Limits) -> Vec<Statements> {
    pace(table, limits, "sent", iif)
}

/// Rules for what a port is sent.
pub fn receiving(table: &mut Table, limits: Limits) -> Vec<Statements> {
    pace(table, limits, "received", oif)
}

/// One rule for all ports: the kernel makes an element for each TAP that it sees, with a limit of its own.
fn pace(
    table: &mut Table,
    limits: Limits,
    what: &str,
    interface: fn() -> Expression<'static>,
) -> Vec<Statements> {
    let mut rules = Vec::new();
    let (packets, bytes) = (limits.port_packets_per_second, limits.port_bytes_per_second);
    let rates = [
        (format!("{packets}-packets"), Rate::packets(packets)),
        (format!("{bytes}-bytes"), Rate::bytes(bytes)),
    ];
    for (limit, rate) in rates {
        if let Some(rate) = rate {
            // An element keeps the limit with which it was made: another limit has another set.
            let set = format!("{what}-{limit}");
            table.meters(&set, SetType::Ifname, TAPS, true);
            rules.push(vec![faster(interface(), &set, rate), counted(), drop()]);
        }
    }
    rules
}

/// More TAPs than a host has: by one that finds no place any more, everything passes.
pub(super) const TAPS: u32 = 16_384;

/// Counts the connections of each VPC where they are new.
pub fn connections(table: &mut Table, desired: &Desired, limits: Limits) {
    let of_each = limits.connections_of_each(desired.vpcs.len());
    let Some((lists, most)) = lists(of_each) else {
        return;
    };
    let mut of_bridge = BTreeMap::new();
    for vpc in &desired.vpcs {
        let name = format!("{}-connections", vpc.vrf());
        // As with ports: another limit has another set.
        let set = format!("{name}-{lists}-of-{most}");
        table.meters(&set, SetType::Mark, lists, false);
        table.chain(
            &name,
            vec![vec![connections_over(&set, lists, most), counted(), drop()]],
        );
        for subnet in &vpc.subnets {
            of_bridge.insert(subnet.bridge(), Verdict::Jump(target(&name)));
        }
    }
    table.map("connections", of_bridge);
    table.base_chain(
        "count",
        NfHook::Prerouting,
        AFTER_RULES,
        vec![
            vec![not_within(ibridge(), "bridges"), accept()],
            vec![ct_state("new"), lookup(ibridge(), "connections")],
        ],
    );
}

/// How many lists, and how many connections in each; `None`: no limit.
fn lists(connections: u32) -> Option<(u32, u32)> {
    if connections == 0 {
        return None;
    }
    let lists = (connections / LIST).max(1);
    Some((lists, connections / lists))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vpcs_together_have_less_than_the_host_tracks() {
        let limits = |vpc_connections, host_connections| Limits {
            vpc_connections,
            host_connections,
            ..Limits::NONE
        };
        let usual = limits(65_536, 1 << 20);
        assert_eq!(usual.connections_of_each(0), 65_536);
        assert_eq!(usual.connections_of_each(8), 65_536);
        assert_eq!(usual.connections_of_each(20), 24_576);
        for vpcs in [1, 9, 16, 17, 200, 5000] {
            let all = vpcs as u64 * u64::from(usual.connections_of_each(vpcs));
            assert!(all < 1 << 20, "{all} of {vpcs}");
        }
        assert_eq!(limits(65_536, 0).connections_of_each(200), 65_536);
        assert_eq!(limits(0, 1 << 20).connections_of_each(200), 0);
        assert_eq!(limits(65_536, 100).connections_of_each(200), 1);
    }

    #[test]
    fn lists_hold_no_more_than_the_limit_and_not_much_less() {
        assert_eq!(lists(0), None);
        assert_eq!(lists(1), Some((1, 1)));
        assert_eq!(lists(100), Some((3, 33)));
        assert_eq!(lists(65_536), Some((2048, 32)));
        for limit in [1, 5, 31, 32, 33, 63, 64, 1000, 65_535, MOST_CONNECTIONS] {
            let (lists, most) = lists(limit).unwrap();
            assert!(lists * most <= limit && lists * most > limit - limit.min(lists));
            assert!(most < 2 * LIST);
        }
    }
}
