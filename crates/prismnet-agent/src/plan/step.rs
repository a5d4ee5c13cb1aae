//! How much networkd is given at once.
//!
//! networkd makes all devices of a reload in one go and hears nothing meanwhile. Too many of them, and its own
//! netlink calls run into their time limit: it takes a bridge for failed that is there, and gives it no port
//! any more. So its files are written in steps, and each waits until the interfaces of the last are there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::FILE_PREFIX;
use super::networkd::Files;

/// Interfaces that may be new or changed with one reload. A hundred converge on a host that is several times
/// slower than any hardware; a thousand do not.
pub const AT_ONCE: usize = 100;

/// Files that networkd reads together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Files to write.
    pub write: BTreeMap<String, String>,
    /// Interfaces that are as they should be before the next step begins.
    pub interfaces: BTreeSet<String>,
}

/// Distributes files over steps: VRFs before bridges before TAPs, so that what an interface belongs to is there
/// before it. Files of one interface stay together.
pub fn steps(write: Files) -> Vec<Step> {
    let mut interfaces: BTreeMap<(u8, String), BTreeMap<String, String>> = BTreeMap::new();
    for (file, contents) in write {
        let interface = interface_of(&file).to_owned();
        interfaces
            .entry((rank(&interface), interface))
            .or_default()
            .insert(file, contents);
    }
    let mut steps: Vec<Step> = Vec::new();
    for ((_, interface), files) in interfaces {
        if steps
            .last()
            .is_none_or(|step| step.interfaces.len() >= AT_ONCE)
        {
            steps.push(Step::default());
        }
        let step = steps.last_mut().expect("there is one now");
        step.interfaces.insert(interface);
        step.write.extend(files);
    }
    steps
}

/// The interface that a file of ours is about.
fn interface_of(file: &str) -> &str {
    let name = file.strip_prefix(FILE_PREFIX).unwrap_or(file);
    name.rsplit_once('.').map_or(name, |(name, _)| name)
}

/// What others belong to comes first.
pub fn rank(interface: &str) -> u8 {
    match interface.get(..2) {
        Some("pv") => 0,
        Some("pb" | "pe") => 1,
        Some("px") => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files() -> impl Strategy<Value = Files> {
        let name = (
            prop::sample::select(vec!["pv", "pb", "px", "pt"]),
            0_u64..400,
        );
        let both = (any::<bool>(), any::<bool>());
        prop::collection::btree_map(name, both, 0..450).prop_map(|interfaces| {
            let mut files = Files::new();
            for ((kind, number), (device, network)) in interfaces {
                for (wanted, suffix) in [(device, "netdev"), (network, "network")] {
                    if wanted {
                        let name = format!("{FILE_PREFIX}{kind}{number:011x}.{suffix}");
                        files.insert(name.clone(), name);
                    }
                }
            }
            files
        })
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_step_in_order_and_no_step_is_too_large(all in files()) {
            let steps = steps(all.clone());
            let mut written = Files::new();
            let mut told: BTreeSet<String> = BTreeSet::new();
            let mut last = 0;
            for (number, step) in steps.iter().enumerate() {
                prop_assert!(!step.write.is_empty());
                prop_assert!(step.interfaces.len() <= AT_ONCE);
                // No more steps than there must be.
                prop_assert!(step.interfaces.len() == AT_ONCE || number + 1 == steps.len());
                for (name, contents) in &step.write {
                    prop_assert!(step.interfaces.contains(interface_of(name)));
                    prop_assert!(written.insert(name.clone(), contents.clone()).is_none());
                }
                for interface in &step.interfaces {
                    prop_assert!(told.insert(interface.clone()), "{} is in two steps", interface);
                }
                let ranks = || step.interfaces.iter().map(|name| rank(name));
                prop_assert!(ranks().all(|it| it >= last));
                last = ranks().max().unwrap_or(last);
            }
            prop_assert_eq!(written, all);
        }
    }
}
