//! SSH keys.

use photon_api::plasmavmc::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, timestamp};
use photon_resource::Error;

use crate::model::{NewSshKey, PublicKey, SshKey, SshKeyChanges};

/// Errors: `InvalidArgument`.
pub fn new_ssh_key(tenant: Tenant, request: pb::CreateSshKeyRequest) -> Result<NewSshKey, Error> {
    Ok(NewSshKey {
        key: PublicKey::parse("public_key", &request.public_key)?,
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// What an update changes.
pub fn ssh_key_changes(request: pb::UpdateSshKeyRequest) -> SshKeyChanges {
    changes(
        request.name,
        request.description,
        request.labels.map(|labels| labels.labels),
        request.expected_revision,
    )
}

/// An SSH key as clients see it.
pub fn ssh_key_to_wire(key: &SshKey) -> pb::SshKey {
    let meta = key.meta.clone();
    pb::SshKey {
        id: key.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        name: meta.name,
        description: meta.description,
        public_key: key.key.line().to_owned(),
        r#type: key.key.kind().to_owned(),
        fingerprint: key.key.fingerprint().to_owned(),
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}
