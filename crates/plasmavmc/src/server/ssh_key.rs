//! `SshKeyService`.

use photon_api::plasmavmc::v1 as pb;
use photon_api::plasmavmc::v1::ssh_key_service_server::SshKeyService;
use photon_catalog::desk::WatchStream;
use photon_catalog::{Access, Answer, Desk, News};
use tonic::Request;

use crate::model::SshKey;
use crate::{app, convert};

/// The service over `app`.
pub struct SshKeys {
    desk: Desk<SshKey>,
    app: app::SshKeys,
}

impl SshKeys {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::SshKeys) -> Self {
        Self {
            desk: Desk::new(access),
            app,
        }
    }
}

#[tonic::async_trait]
impl SshKeyService for SshKeys {
    async fn create_ssh_key(
        &self,
        request: Request<pb::CreateSshKeyRequest>,
    ) -> Answer<pb::CreateSshKeyResponse> {
        self.desk
            .create(request, convert::new_ssh_key, |mutation, new| {
                let answer = |key: &SshKey| pb::CreateSshKeyResponse {
                    ssh_key: Some(convert::ssh_key_to_wire(key)),
                };
                self.app.create(mutation, new, answer)
            })
            .await
    }

    async fn get_ssh_key(
        &self,
        request: Request<pb::GetSshKeyRequest>,
    ) -> Answer<pb::GetSshKeyResponse> {
        self.desk
            .get(request, |key| pb::GetSshKeyResponse {
                ssh_key: Some(convert::ssh_key_to_wire(key)),
            })
            .await
    }

    async fn list_ssh_keys(
        &self,
        request: Request<pb::ListSshKeysRequest>,
    ) -> Answer<pb::ListSshKeysResponse> {
        self.desk
            .list(
                request,
                |query, _| self.app.list(query),
                |page| pb::ListSshKeysResponse {
                    ssh_keys: page.items.iter().map(convert::ssh_key_to_wire).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    type WatchSshKeysStream = WatchStream<pb::WatchSshKeysResponse>;

    async fn watch_ssh_keys(
        &self,
        request: Request<pb::WatchSshKeysRequest>,
    ) -> Answer<Self::WatchSshKeysStream> {
        self.desk
            .watch(request, |news, revision| {
                let mut told = pb::WatchSshKeysResponse {
                    revision,
                    ..Default::default()
                };
                match news {
                    News::Now(key) => told.ssh_key = Some(convert::ssh_key_to_wire(&key)),
                    News::Gone(id) => told.deleted_id = id.to_string(),
                    News::Synced => {}
                }
                told
            })
            .await
    }

    async fn update_ssh_key(
        &self,
        request: Request<pb::UpdateSshKeyRequest>,
    ) -> Answer<pb::UpdateSshKeyResponse> {
        self.desk
            .change(request, "update", |mutation, key: SshKey, request| {
                let answer = |key: &SshKey| pb::UpdateSshKeyResponse {
                    ssh_key: Some(convert::ssh_key_to_wire(key)),
                };
                self.app
                    .update(mutation, key.id, convert::ssh_key_changes(request), answer)
            })
            .await
    }

    async fn delete_ssh_key(
        &self,
        request: Request<pb::DeleteSshKeyRequest>,
    ) -> Answer<pb::DeleteSshKeyResponse> {
        self.desk
            .change(request, "delete", |mutation, key: SshKey, _| {
                self.app.delete(mutation, key.id)
            })
            .await
    }
}
