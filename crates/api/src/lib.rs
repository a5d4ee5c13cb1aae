//! The gRPC API of PhotonCloud.
//!
//! `proto/` is the reference, `components.toml` says what the cloud is made of; `src/generated/` is made from them by
//! `tests/generated.rs` and committed, so that a build needs no protoc. After a change to one of them run
//! `PHOTON_REGENERATE=1 cargo test -p photon-api`.

pub mod desired;

/// Identities, tokens and authorization.
pub mod iam {
    #[allow(clippy::all, missing_docs, rustdoc::all)]
    pub mod v1 {
        include!("generated/iam.v1.rs");
    }
}

/// Networks: VPCs, subnets, ports, security groups.
pub mod prismnet {
    #[allow(clippy::all, missing_docs, rustdoc::all)]
    pub mod v1 {
        include!("generated/prismnet.v1.rs");
    }
}

/// Images and virtual machines.
pub mod plasmavmc {
    #[allow(clippy::all, missing_docs, rustdoc::all)]
    pub mod v1 {
        include!("generated/plasmavmc.v1.rs");
    }
}

/// Names.
pub mod flashdns {
    #[allow(clippy::all, missing_docs, rustdoc::all)]
    pub mod v1 {
        include!("generated/flashdns.v1.rs");
    }
}

/// Machines on their way to being hosts, and hosts' certificates.
pub mod provisioner {
    #[allow(clippy::all, missing_docs, rustdoc::all)]
    pub mod v1 {
        include!("generated/provisioner.v1.rs");
    }
}

/// What servers hold of tenants.
pub mod tenancy {
    #[allow(clippy::all, missing_docs, rustdoc::all)]
    pub mod v1 {
        include!("generated/tenancy.v1.rs");
    }
}

pub mod components;
pub mod inventory;

/// The event log.
pub mod chainfire {
    #[allow(clippy::all, missing_docs, rustdoc::all)]
    pub mod v1 {
        include!("generated/chainfire.v1.rs");
    }
}

/// Quotas.
pub mod quota {
    #[allow(clippy::all, missing_docs, rustdoc::all)]
    pub mod v1 {
        include!("generated/quota.v1.rs");
    }
}

pub mod request;

/// A `google.protobuf.FileDescriptorSet` of all of the above, with comments: what reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/photoncloud.binpb");
