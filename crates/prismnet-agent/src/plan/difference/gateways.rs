//! NAT gateways: what of them must be set up, or ended.

use std::collections::BTreeMap;

use super::super::desired::Gateway;
use super::{Observed, Plan, Target, by_name};

/// The legs of gateways, and the bridge of each.
pub(super) fn legs(gateways: &[Gateway]) -> BTreeMap<String, String> {
    let both = gateways.iter().flat_map(|gateway| {
        let segment = photon_resource::bridge_name(gateway.transit());
        [
            (gateway.inside_leg(), segment),
            (gateway.outside_leg(), gateway.external_bridge()),
        ]
    });
    both.collect()
}

impl Target {
    /// A gateway whose namespace has done what it was told, and whose legs are there, is as it should be.
    pub(super) fn compare_gateways(&self, observed: &Observed, plan: &mut Plan) {
        let links = by_name(&observed.links);
        for (name, wanted) in &self.gateways {
            let found = observed.gateways.get(name);
            let legs = [&wanted.inside, &wanted.outside];
            let complete = legs.iter().all(|leg| links.contains_key(leg.host.as_str()));
            if complete && found.is_some_and(|found| found.applied.as_ref() == Some(wanted)) {
                continue;
            }
            if found.is_some_and(|found| !found.exists) {
                plan.renew.insert(name.clone());
            }
            plan.gateways.insert(name.clone(), wanted.clone());
        }
        let here = observed.gateways.keys();
        let gone = here.filter(|name| !self.gateways.contains_key(*name));
        plan.end = gone.cloned().collect();
    }
}
