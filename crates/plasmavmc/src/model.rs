//! The domain: images, VMs and hosts as the rules see them, free of wire and storage forms.

use std::collections::BTreeMap;

pub mod image;
pub mod node;
mod ssh_key;
pub mod vm;

pub use image::{Image, ImageFile, ImageFormat, ImagePart};
pub use node::{Hypervisor, Node};
pub use ssh_key::check_ssh_key;
pub use vm::{Disk, Interface, Port, PowerState, RestartPolicy, Size, Spec, Vm};

/// Labels of a resource.
pub type Labels = BTreeMap<String, String>;

/// Whether `labels` has all of `wanted`.
pub fn has_labels(labels: &Labels, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}
