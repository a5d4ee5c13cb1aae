//! SSH keys in the store.

use flaredb::Record;
use photon_catalog::quota::Uses;
use photon_catalog::{Common, MetaRecord, Stored};
use photon_resource::{Error, Kind, Scope, SshKeyId};
use serde::{Deserialize, Serialize};

use crate::model::{PublicKey, SshKey, kind};

/// The stored form of an SSH key.
#[derive(Serialize, Deserialize)]
pub struct SshKeyRecord {
    meta: MetaRecord,
    public_key: String,
}

impl Record for SshKeyRecord {
    const KIND: &'static str = "SSH key";
    const VERSION: u32 = 1;
}

impl From<&SshKey> for SshKeyRecord {
    fn from(key: &SshKey) -> Self {
        Self {
            meta: (&key.meta).into(),
            public_key: key.key.line().to_owned(),
        }
    }
}

impl Stored for SshKey {
    type Id = SshKeyId;
    type Record = SshKeyRecord;
    const TABLE: &'static str = "ssh-key";
    const KIND: Kind = kind::SSH_KEYS;

    fn id(&self) -> SshKeyId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        vec![("ssh_keys", 1)]
    }

    fn restore(id: SshKeyId, record: SshKeyRecord) -> Result<Self, Error> {
        // It was read so before it was stored: else the store is damaged, or a newer program's.
        let key = PublicKey::parse("public_key", &record.public_key).map_err(Error::internal)?;
        Ok(Self {
            id,
            meta: record.meta.into(),
            key,
        })
    }
}
