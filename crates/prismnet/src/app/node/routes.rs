//! The routes of all VPCs, as hosts are told them. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use photon_resource::{RouteId, VpcId};

use super::inventory::{remove, set};
use crate::model::Route;

/// A route on a host.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredRoute<'a> {
    pub route: &'a Route,
    pub way: Way,
}

/// Where a route leads, as things are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the address of a port that some device has.
    Port(Ipv4Addr),
    NatGateway,
    /// It is a black hole, or nobody is where it leads: what is sent there must not go elsewhere.
    Nowhere,
}

/// The routes of all VPCs.
#[derive(Debug, Default)]
pub(super) struct Routes {
    all: HashMap<RouteId, Route>,
    of_vpc: HashMap<VpcId, BTreeSet<RouteId>>,
}

impl Routes {
    /// The VPC that this concerns; it never changes.
    pub fn set(&mut self, id: RouteId, route: Option<Route>) -> Option<VpcId> {
        let vpc = [route.as_ref(), self.all.get(&id)];
        let vpc = vpc.into_iter().flatten().next()?.vpc_id;
        match &route {
            Some(_) => drop(self.of_vpc.entry(vpc).or_default().insert(id)),
            None => remove(&mut self.of_vpc, &vpc, id),
        }
        set(&mut self.all, id, route);
        Some(vpc)
    }

    /// Those of a VPC, in the order of their ids.
    pub fn of(&self, vpc: VpcId) -> impl Iterator<Item = &Route> {
        let ids = self.of_vpc.get(&vpc).into_iter().flatten();
        ids.filter_map(|id| self.all.get(id))
    }
}
