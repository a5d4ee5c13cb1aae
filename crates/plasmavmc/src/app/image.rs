//! What is asked of images that exist.

use std::time::SystemTime;

use flaredb::Db;
use photon_api::plasmavmc::v1;
use photon_resource::{
    Caller, Error, ImageId, Page, PageRequest, ResourceName, Scope, validate_description,
    validate_labels, validate_resource_name,
};
use photon_service::Mutations;

use super::{Access, Reference, list};
use crate::convert;
use crate::model::{Image, has_labels};
use crate::settings::Settings;
use crate::store;
use crate::store::blob::Blobs;
use crate::store::image::{ListPart, NameTaken};

/// The image service's rules. Clones are the same.
#[derive(Clone)]
pub struct Images {
    pub(super) db: Db,
    pub(super) mutations: Mutations,
    pub(super) access: Access,
    pub(super) blobs: Blobs,
    pub(super) settings: Settings,
}

impl Images {
    pub fn new(
        db: Db,
        mutations: Mutations,
        access: Access,
        blobs: Blobs,
        settings: Settings,
    ) -> Self {
        Self {
            db,
            mutations,
            access,
            blobs,
            settings,
        }
    }

    /// One image.
    pub async fn get(
        &self,
        caller: &Caller,
        request: &v1::GetImageRequest,
    ) -> Result<v1::Image, Error> {
        let reference = Reference {
            id: &request.id,
            org_id: &request.org_id,
            project_id: &request.project_id,
        };
        let image = self
            .access
            .image_to_use(caller, "compute:images:get", reference)
            .await?;
        Ok(convert::image_to_wire(&image))
    }

    /// One page: the scope's own images, then the public ones of others.
    pub async fn list(
        &self,
        caller: &Caller,
        request: &v1::ListImagesRequest,
    ) -> Result<Page<v1::Image>, Error> {
        let scope = list::scope(caller, &request.org_id, &request.project_id)?;
        let all = ResourceName::any(scope.clone(), Image::KIND);
        self.access
            .ask(caller, "compute:images:list", &all, &[])
            .await?;
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let (mut items, mut after) = (Vec::new(), page.after);
        for part in [ListPart::Own, ListPart::Public] {
            loop {
                let (ids, more) =
                    store::image::image_ids_in(&self.db, part, &scope, after.as_deref(), page.size)
                        .await?;
                for (key, id) in ids {
                    if let Some(image) = store::image::image_get(&self.db, id).await?
                        && is_listed(&image, part, &scope, request)
                    {
                        if items.len() == page.size {
                            let token = after.as_deref().map(PageRequest::token);
                            let next_page_token = token.unwrap_or_default();
                            return Ok(Page {
                                items,
                                next_page_token,
                            });
                        }
                        items.push(convert::image_to_wire(&image));
                    }
                    after = Some(key);
                }
                if !more {
                    break;
                }
            }
        }
        Ok(Page {
            items,
            next_page_token: String::new(),
        })
    }

    /// Changes what is given; never the content.
    pub async fn update(
        &self,
        caller: &Caller,
        request: &v1::UpdateImageRequest,
    ) -> Result<v1::UpdateImageResponse, Error> {
        const ACTION: &str = "compute:images:update";
        let mut mutation = self
            .mutations
            .start(caller, ACTION, &request.request_id, request)?;
        let reference = Reference::of(&request.id);
        let found = self
            .access
            .image_to_change(caller, ACTION, reference)
            .await?;
        if let Some(name) = &request.name {
            validate_resource_name("name", name)?;
        }
        if let Some(description) = &request.description {
            validate_description(description)?;
        }
        if let Some(labels) = &request.labels {
            validate_labels(&labels.labels)?;
        }
        if request.public == Some(true) && !found.public {
            self.may_publish(caller, ACTION, &found.resource_name())
                .await?;
        }
        loop {
            let mut tx = self.db.begin();
            if let Some(first) = mutation.replay(&mut tx).await? {
                return Ok(first);
            }
            let Some(before) = store::image::image_read(&mut tx, found.id).await? else {
                return Err(Error::not_found(ImageId::KIND, &request.id));
            };
            let after = match updated(&before, request) {
                Ok(after) => after,
                Err(refusal) => {
                    // It may be this very call, sent twice, that has changed it: then the answer is there now.
                    if tx.holds().await? {
                        return Err(refusal);
                    }
                    continue;
                }
            };
            if after != before {
                let put = store::image::image_put(&mut tx, Some(&before), &after).await?;
                if let Err(taken) = put {
                    if tx.holds().await? {
                        return Err(taken_error(&taken, &after.name));
                    }
                    continue;
                }
            }
            let (old, new) = (
                store::image::image_bytes(&before)?,
                store::image::image_bytes(&after)?,
            );
            let response = v1::UpdateImageResponse {
                image: Some(convert::image_to_wire(&after)),
            };
            let name = after.resource_name();
            let committed = mutation.commit(tx, &name, Some(&old), Some(&new), "", response, None);
            if let Some(response) = committed.await? {
                return Ok(response);
            }
        }
    }

    /// Removes an image that no VM uses; its files go when no other image has them.
    pub async fn delete(
        &self,
        caller: &Caller,
        request: &v1::DeleteImageRequest,
    ) -> Result<v1::DeleteImageResponse, Error> {
        const ACTION: &str = "compute:images:delete";
        let mut mutation = self
            .mutations
            .start(caller, ACTION, &request.request_id, request)?;
        let reference = Reference::of(&request.id);
        let found = match self.access.image_to_change(caller, ACTION, reference).await {
            Ok(found) => found,
            Err(error @ Error::NotFound { .. }) => {
                let first = mutation.replay(&mut self.db.begin()).await?;
                return first.ok_or(error);
            }
            Err(error) => return Err(error),
        };
        loop {
            let mut tx = self.db.begin();
            if let Some(first) = mutation.replay(&mut tx).await? {
                return Ok(first);
            }
            let users = store::image::image_users_read(&mut tx, found.id).await?;
            let Some(image) = store::image::image_read(&mut tx, found.id).await? else {
                return Err(Error::not_found(ImageId::KIND, &request.id));
            };
            if !users.is_empty() {
                return Err(self.in_use(caller, &image, &users).await);
            }
            store::image::image_remove(&mut tx, &image);
            if image.scope != Scope::System {
                store::image::usage_change(&mut tx, &image.scope, 0, image.stored_bytes()).await?;
            }
            let old = store::image::image_bytes(&image)?;
            let name = image.resource_name();
            let response = v1::DeleteImageResponse {};
            if let Some(response) = mutation
                .commit(tx, &name, Some(&old), None, "", response, None)
                .await?
            {
                let images = self.clone();
                tokio::spawn(async move { images.collect_garbage().await });
                return Ok(response);
            }
        }
    }

    /// Says which VMs are in the way, as far as the caller may know of them.
    async fn in_use(
        &self,
        caller: &Caller,
        image: &Image,
        users: &[photon_resource::VmId],
    ) -> Error {
        let mut names = Vec::new();
        for id in users {
            let vm = store::vm::vm_get(&self.db, *id).await;
            if let Ok((Some(vm), _)) = vm
                && caller.may_see(&vm.scope())
            {
                names.push(format!("'{}'", vm.name));
            }
            if names.len() == 5 {
                break;
            }
        }
        let shown = match names.as_slice() {
            [] => "VMs of other tenants".to_owned(),
            names if names.len() == users.len() => format!("VM {}", names.join(", ")),
            names => format!("{} VMs, among them {}", users.len(), names.join(", ")),
        };
        Error::FailedPrecondition(format!(
            "image '{}' is in use by {shown}: delete them first",
            image.name
        ))
    }

    /// Only operators make an image everybody's; `resource` is for the record of a refusal.
    pub(super) async fn may_publish(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
    ) -> Result<(), Error> {
        if caller.claims.org_id.is_none() {
            return Ok(());
        }
        let reason = "only operators make images public, with a token of the system";
        self.access
            .guard()
            .record(caller, action, resource, reason)
            .await;
        Err(Error::PermissionDenied {
            action: action.to_owned(),
            resource: resource.to_string(),
            reason: reason.to_owned(),
        })
    }

    /// Removes the files that no image refers to. What fails is tried again at the next deletion or start.
    pub async fn collect_garbage(&self) {
        let in_use = async || store::image::blobs_in_use(&self.db).await;
        match self.blobs.collect(in_use).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "files of deleted images removed"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "files of deleted images could not be removed")
            }
            Err(error) => tracing::warn!(%error, "the images in use could not be read"),
        }
    }
}

fn is_listed(
    image: &Image,
    part: ListPart,
    scope: &Scope,
    request: &v1::ListImagesRequest,
) -> bool {
    // An own image that is public stands among the own ones already.
    let twice = part == ListPart::Public && scope.contains(&image.scope);
    !twice
        && (request.name.is_empty() || image.name == request.name)
        && has_labels(&image.labels, &request.labels)
}

fn updated(before: &Image, request: &v1::UpdateImageRequest) -> Result<Image, Error> {
    if request.expected_revision != 0 && request.expected_revision != before.revision {
        return Err(Error::Conflict {
            kind: ImageId::KIND,
            id: before.id.to_string(),
            expected: request.expected_revision,
            actual: before.revision,
        });
    }
    let mut after = before.clone();
    if let Some(name) = &request.name {
        after.name = name.clone();
    }
    if let Some(description) = &request.description {
        after.description = description.clone();
    }
    if let Some(labels) = &request.labels {
        after.labels = labels.labels.clone();
    }
    if let Some(public) = request.public {
        after.public = public;
    }
    if after != *before {
        after.updated_at = SystemTime::now();
        after.revision += 1;
    }
    Ok(after)
}

pub(super) fn taken_error(taken: &NameTaken, name: &str) -> Error {
    let kind = if taken.public {
        "public image"
    } else {
        ImageId::KIND
    };
    Error::already_exists(kind, name)
}
