//! A peering: two VPCs whose guests reach each other, as one side has it.
//!
//! Each side is a resource of its own project, so that nobody reaches into another's: the side that asks makes its own, and if
//! there is such a VPC, the other side's with it.

use ipnet::Ipv4Net;
use photon_resource::{Error, Meta, NewMeta, OrgId, PeeringId, ProjectId, Scope, Time, VpcId};

/// As many peerings as one VPC may have, with those that it asks for and is asked for: every host with a port of it has the
/// networks of all that are active.
pub const MAX_PEERINGS: usize = 20;

/// For so long a peering can be accepted: 7 days, in microseconds.
const PATIENCE: u64 = 7 * 24 * 60 * 60 * 1_000_000;

/// One side of a peering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    pub id: PeeringId,
    pub meta: Meta,
    pub vpc_id: VpcId,
    /// Range of that VPC, which never changes.
    pub cidr: Ipv4Net,
    pub peer: Peer,
    /// The other side of the same peering; `None`: there is no such VPC, it has no room, or it is not a peering any more.
    pub other: Option<OtherSide>,
    /// Whether the other side asked.
    pub asked_by_peer: bool,
    pub state: PeeringState,
}

/// Whom a VPC has a peering with, as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub org_id: OrgId,
    pub project_id: ProjectId,
    pub vpc_id: VpcId,
}

/// What one side knows of the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherSide {
    pub id: PeeringId,
    /// Range of its VPC.
    pub cidr: Ipv4Net,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeeringState {
    /// Until it is too late: see [`Peering::has_expired`].
    Pending,
    Active,
    /// Refused, or ended by the other side.
    Rejected,
}

/// A peering to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPeering {
    pub meta: NewMeta,
    /// Id or name of the VPC.
    pub vpc: String,
    pub peer: Peer,
}

impl Peer {
    /// The project that it is said to be in.
    pub fn scope(&self) -> Scope {
        Scope::Project(self.org_id.clone(), self.project_id.clone())
    }
}

impl Peering {
    /// Until when it can be accepted.
    pub fn expires_at(&self) -> Time {
        Time::from_micros(self.meta.created_at.micros().saturating_add(PATIENCE))
    }

    /// Whether nobody answered in time.
    pub fn has_expired(&self, now: Time) -> bool {
        self.state == PeeringState::Pending && now >= self.expires_at()
    }

    /// Range of the other side's VPC, as far as this side may know it: who asks hears of it with the answer.
    pub fn peer_cidr(&self) -> Option<Ipv4Net> {
        let told = self.asked_by_peer || self.state == PeeringState::Active;
        self.other.filter(|_| told).map(|other| other.cidr)
    }
}

/// Whether two networks have addresses in common.
pub fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// Whether a VPC that has peerings with `peers` and routes to `routes` may have one with `peer` too. `None`: it may.
pub fn in_the_way(
    own: Ipv4Net,
    peers: &[Ipv4Net],
    routes: &[Ipv4Net],
    peer: Ipv4Net,
) -> Option<String> {
    if overlap(own, peer) {
        return Some(format!("its own range {own}"));
    }
    if let Some(other) = peers.iter().find(|it| overlap(**it, peer)) {
        return Some(format!("{other}, with which it has a peering"));
    }
    // A wider route is none in the way: the peering's prefix is longer.
    let inside = routes.iter().find(|it| peer.contains(*it));
    inside.map(|route| format!("{route}, to which it has a route"))
}

impl NewPeering {
    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        self.meta.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn no_address_means_two_things() {
        let own = net("10.0.0.0/16");
        let (peers, routes) = ([net("10.1.0.0/16")], [net("10.9.1.0/24"), net("0.0.0.0/0")]);
        for (peer, why) in [
            ("10.0.1.0/24", "its own range 10.0.0.0/16"),
            ("10.0.0.0/8", "its own range 10.0.0.0/16"),
            ("10.1.7.0/24", "10.1.0.0/16, with which it has a peering"),
            ("10.9.0.0/16", "10.9.1.0/24, to which it has a route"),
            ("10.9.1.0/24", "10.9.1.0/24, to which it has a route"),
        ] {
            let found = in_the_way(own, &peers, &routes, net(peer));
            assert_eq!(found.as_deref(), Some(why));
        }
        // A route that is wider than the peer is none.
        for peer in ["10.2.0.0/16", "10.9.1.128/25", "172.16.0.0/12"] {
            assert_eq!(in_the_way(own, &peers, &routes, net(peer)), None);
        }
    }
}
