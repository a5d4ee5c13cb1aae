//! The domain: images, VMs and hosts as the rules see them, free of wire and storage forms.

pub mod image;
mod metadata;
pub mod node;
pub mod phase;
mod ssh_key;
mod user_data;
pub mod vm;

pub use image::{
    ExpectedFile, Image, ImageChanges, ImageFile, ImageFormat, ImagePart, NewImage,
    check_default_user,
};
pub use metadata::{MetadataChanges, MetadataOptions};
pub use node::{Hypervisor, Load, Node, Overhead};
pub use ssh_key::{NewSshKey, PublicKey, SshKey, SshKeyChanges};
pub use user_data::UserData;
pub use vm::{
    Addressing, Disk, Interface, Leaving, NewInterface, NewSpec, NewVm, Plug, Port, PowerState,
    RestartPolicy, Size, Spec, Vm, VmChanges, VmFilter,
};

/// The types of resources.
pub mod kind {
    use photon_resource::{ImageId, Kind, SshKeyId, VmId};

    const fn of(plural: &'static str, noun: &'static str) -> Kind {
        Kind {
            service: "compute",
            plural,
            noun,
        }
    }

    /// Virtual machines.
    pub const VMS: Kind = of("instances", VmId::KIND);
    /// SSH keys.
    pub const SSH_KEYS: Kind = of("sshKeys", SshKeyId::KIND);
    /// Images.
    pub const IMAGES: Kind = of("images", ImageId::KIND);
    /// Hosts.
    pub const NODES: Kind = of("nodes", "host");
}
