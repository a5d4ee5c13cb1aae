//! Which addresses a packet of a VPC is looked up among first: the VPC's own.
//!
//! The kernel asks the rules of policy routing in the order of their preferences: 0 leads to the table *local*, where the
//! host's own addresses are, and 1000, which comes with the first VRF, to the VRF's table. So a VPC that uses the range of
//! the rack could not reach its own guests at addresses that the host has itself. The remedy is that of
//! Documentation/networking/vrf.rst: *local* is asked after the VRFs.

use std::collections::BTreeSet;

use photon_host::rules::{Family, LocalRules};
use serde::Serialize;

/// Behind that of VRFs (1000, `FIB_RULE_PREF` of drivers/net/vrf.c).
const BEHIND: u32 = 1001;

/// What to do, in this order: there is always a rule that leads to the host itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Precedence {
    /// Rules to *local* to add.
    pub add: BTreeSet<(Family, u32)>,
    /// Those to remove.
    pub remove: BTreeSet<(Family, u32)>,
}

impl Precedence {
    /// What leads from the rules that there are to those that let VPCs come first.
    pub fn of(observed: &LocalRules) -> Self {
        let mut precedence = Self::default();
        for (family, preferences) in observed {
            if !preferences.contains(&BEHIND) {
                precedence.add.insert((*family, BEHIND));
            }
            let before = preferences.range(..BEHIND);
            precedence
                .remove
                .extend(before.map(|preference| (*family, *preference)));
        }
        precedence
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(v4: &[u32], v6: &[u32]) -> LocalRules {
        let set = |all: &[u32]| all.iter().copied().collect();
        [(Family::V4, set(v4)), (Family::V6, set(v6))].into()
    }

    #[test]
    fn the_host_comes_after_its_vpcs_and_is_never_without_a_rule() {
        let kernels = Precedence::of(&rules(&[0], &[0]));
        let both =
            |preference| BTreeSet::from([(Family::V4, preference), (Family::V6, preference)]);
        assert_eq!(kernels.add, both(BEHIND));
        assert_eq!(kernels.remove, both(0));
        assert!(Precedence::of(&rules(&[BEHIND], &[BEHIND])).is_empty());
        // Between the two, or after somebody has put the first back.
        let half = Precedence::of(&rules(&[0, BEHIND], &[BEHIND]));
        assert_eq!(half.add, BTreeSet::new());
        assert_eq!(half.remove, BTreeSet::from([(Family::V4, 0)]));
        // All are gone: the host can't be reached.
        let none = Precedence::of(&rules(&[], &[BEHIND]));
        assert_eq!(none.add, BTreeSet::from([(Family::V4, BEHIND)]));
        // An operator's own, further behind, is none of ours.
        assert!(Precedence::of(&rules(&[BEHIND, 2000], &[BEHIND])).is_empty());
        // A kernel without IPv6.
        let v4 = Precedence::of(&[(Family::V4, BTreeSet::from([0]))].into());
        assert_eq!(v4.add, BTreeSet::from([(Family::V4, BEHIND)]));
    }
}
