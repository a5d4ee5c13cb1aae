//! Images in the store.

use flaredb::{Db, Error, Record, Transaction};
use photon_resource::{ImageId, PrincipalId, Scope, VmId};
use serde::{Deserialize, Serialize};

use super::{IdRecord, from_micros, to_micros};
use crate::model::{Image, ImageFile, ImageFormat, ImagePart, Labels};

#[derive(Serialize, Deserialize)]
struct ImageRecord {
    /// As [`Scope`] prints itself.
    scope: String,
    owner: PrincipalId,
    name: String,
    description: String,
    format: FormatRecord,
    files: Vec<FileRecord>,
    public: bool,
    virtual_size_bytes: u64,
    kernel_command_line: String,
    labels: Labels,
    created_at: u64,
    updated_at: u64,
    revision: u64,
}

impl Record for ImageRecord {
    const KIND: &'static str = "image";
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FormatRecord {
    Raw,
    Qcow2,
    KernelInitrd,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PartRecord {
    Disk,
    Kernel,
    Initrd,
}

#[derive(Serialize, Deserialize)]
struct FileRecord {
    part: PartRecord,
    sha256: String,
    size_bytes: u64,
}

#[derive(Serialize, Deserialize, Default)]
struct UsageRecord {
    bytes: u64,
}

impl Record for UsageRecord {
    const KIND: &'static str = "usage of images";
    const VERSION: u32 = 1;
}

impl ImageRecord {
    fn of(image: &Image) -> Self {
        let file = |file: &ImageFile| FileRecord {
            part: match file.part {
                ImagePart::Disk => PartRecord::Disk,
                ImagePart::Kernel => PartRecord::Kernel,
                ImagePart::Initrd => PartRecord::Initrd,
            },
            sha256: file.sha256.clone(),
            size_bytes: file.size_bytes,
        };
        Self {
            scope: image.scope.to_string(),
            owner: image.owner,
            name: image.name.clone(),
            description: image.description.clone(),
            format: match image.format {
                ImageFormat::Raw => FormatRecord::Raw,
                ImageFormat::Qcow2 => FormatRecord::Qcow2,
                ImageFormat::KernelInitrd => FormatRecord::KernelInitrd,
            },
            files: image.files.iter().map(file).collect(),
            public: image.public,
            virtual_size_bytes: image.virtual_size_bytes,
            kernel_command_line: image.kernel_command_line.clone(),
            labels: image.labels.clone(),
            created_at: to_micros(image.created_at),
            updated_at: to_micros(image.updated_at),
            revision: image.revision,
        }
    }

    fn into_image(self, id: ImageId) -> Result<Image, Error> {
        let scope = self.scope.parse().map_err(|_| Error::Migration {
            kind: Self::KIND,
            version: Self::VERSION,
            reason: format!("image {id} has the scope {:?}", self.scope),
        })?;
        let file = |file: FileRecord| ImageFile {
            part: match file.part {
                PartRecord::Disk => ImagePart::Disk,
                PartRecord::Kernel => ImagePart::Kernel,
                PartRecord::Initrd => ImagePart::Initrd,
            },
            sha256: file.sha256,
            size_bytes: file.size_bytes,
        };
        Ok(Image {
            id,
            scope,
            owner: self.owner,
            name: self.name,
            description: self.description,
            format: match self.format {
                FormatRecord::Raw => ImageFormat::Raw,
                FormatRecord::Qcow2 => ImageFormat::Qcow2,
                FormatRecord::KernelInitrd => ImageFormat::KernelInitrd,
            },
            files: self.files.into_iter().map(file).collect(),
            public: self.public,
            virtual_size_bytes: self.virtual_size_bytes,
            kernel_command_line: self.kernel_command_line,
            labels: self.labels,
            created_at: from_micros(self.created_at),
            updated_at: from_micros(self.updated_at),
            revision: self.revision,
        })
    }
}

const IMAGES_PREFIX: &str = "image/";

fn image_key(id: ImageId) -> String {
    format!("{IMAGES_PREFIX}{id}")
}

/// No organization or project can be called `-`.
fn scope_segments(scope: &Scope) -> String {
    match scope {
        Scope::Project(org, project) => format!("{org}/{project}"),
        _ => "-/-".to_owned(),
    }
}

fn name_key(scope: &Scope, name: &str) -> String {
    format!("image-name/{}/{name}", scope_segments(scope))
}

fn list_key(scope: &Scope, id: ImageId) -> String {
    format!("image-in/{}/{id}", scope_segments(scope))
}

fn public_key(name: &str) -> String {
    format!("image-public/{name}")
}

fn users_prefix(image: ImageId) -> String {
    format!("image-user/{image}/")
}

fn users_guard(image: ImageId) -> String {
    format!("image-users/{image}")
}

/// One image.
pub async fn image_get(db: &Db, id: ImageId) -> Result<Option<Image>, Error> {
    let record = db.get::<ImageRecord>(&image_key(id)).await?;
    record.map(|record| record.into_image(id)).transpose()
}

/// One image, for a change.
pub async fn image_read(tx: &mut Transaction, id: ImageId) -> Result<Option<Image>, Error> {
    let record = tx.get::<ImageRecord>(&image_key(id)).await?;
    record.map(|record| record.into_image(id)).transpose()
}

/// The image of this name in a project, else the public one.
pub async fn image_by_name(db: &Db, scope: &Scope, name: &str) -> Result<Option<ImageId>, Error> {
    let own = db.get::<IdRecord<ImageId>>(&name_key(scope, name)).await?;
    let entry = match own {
        Some(entry) => Some(entry),
        None => db.get::<IdRecord<ImageId>>(&public_key(name)).await?,
    };
    Ok(entry.map(|entry| entry.id))
}

/// The name is taken: in the image's project, or (`public`) among the public ones.
#[derive(Debug, PartialEq, Eq)]
pub struct NameTaken {
    pub public: bool,
}

/// Stores an image, new (`before` is `None`) or changed. A name that is taken must not be committed.
pub async fn image_put(
    tx: &mut Transaction,
    before: Option<&Image>,
    after: &Image,
) -> Result<Result<(), NameTaken>, Error> {
    let entry = IdRecord { id: after.id };
    let name = name_key(&after.scope, &after.name);
    if before.is_none_or(|before| before.name != after.name) {
        if tx.get::<IdRecord<ImageId>>(&name).await?.is_some() {
            return Ok(Err(NameTaken { public: false }));
        }
        if let Some(before) = before {
            tx.delete(&name_key(&before.scope, &before.name));
        }
        tx.put(&name, &entry)?;
    }
    let was_public = before.filter(|before| before.public);
    let keeps_public_name = was_public.is_some_and(|it| after.public && it.name == after.name);
    if !keeps_public_name {
        if let Some(before) = was_public {
            tx.delete(&public_key(&before.name));
        }
        if after.public {
            let key = public_key(&after.name);
            if tx.get::<IdRecord<ImageId>>(&key).await?.is_some() {
                return Ok(Err(NameTaken { public: true }));
            }
            tx.put(&key, &entry)?;
        }
    }
    tx.put(&list_key(&after.scope, after.id), &entry)?;
    tx.put(&image_key(after.id), &ImageRecord::of(after))?;
    Ok(Ok(()))
}

/// Removes an image's records; its files stay until nothing refers to them.
pub fn image_remove(tx: &mut Transaction, image: &Image) {
    tx.delete(&image_key(image.id));
    tx.delete(&name_key(&image.scope, &image.name));
    tx.delete(&list_key(&image.scope, image.id));
    if image.public {
        tx.delete(&public_key(&image.name));
    }
    tx.delete(&users_guard(image.id));
}

/// Where a list is: the project's own images, then the public ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListPart {
    Own,
    Public,
}

/// Ids of images, at most `limit` after the list key `after`, with their list keys, and whether there are
/// more. For an organization without a project, those of all of its projects; for the system, all.
pub async fn image_ids_in(
    db: &Db,
    part: ListPart,
    scope: &Scope,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<(String, ImageId)>, bool), Error> {
    let prefix = match (part, scope) {
        (ListPart::Public, _) => "image-public/".to_owned(),
        (ListPart::Own, Scope::System) => "image-in/".to_owned(),
        (ListPart::Own, Scope::Org(org)) => format!("image-in/{org}/"),
        (ListPart::Own, Scope::Project(org, project)) => format!("image-in/{org}/{project}/"),
    };
    let page = db.page::<IdRecord<ImageId>>(&prefix, after, limit).await?;
    let ids = page.items.into_iter().map(|(key, entry)| (key, entry.id));
    Ok((ids.collect(), page.more))
}

/// Notes that a VM starts from the image. Of this and a deletion of the image at the same time, one conflicts.
pub async fn image_user_add(tx: &mut Transaction, image: ImageId, vm: VmId) -> Result<(), Error> {
    tx.touch(&users_guard(image)).await?;
    tx.put(
        &format!("{}{vm}", users_prefix(image)),
        &IdRecord { id: vm },
    )
}

/// The VM starts from the image no more.
pub fn image_user_remove(tx: &mut Transaction, image: ImageId, vm: VmId) {
    tx.delete(&format!("{}{vm}", users_prefix(image)));
}

/// VMs that start from the image; none can be added at the same time.
pub async fn image_users_read(tx: &mut Transaction, image: ImageId) -> Result<Vec<VmId>, Error> {
    tx.touch(&users_guard(image)).await?;
    let users = tx.scan::<IdRecord<VmId>>(&users_prefix(image)).await?;
    Ok(users.into_iter().map(|(_, entry)| entry.id).collect())
}

fn usage_key(scope: &Scope) -> String {
    format!("image-usage/{}", scope_segments(scope))
}

/// Bytes of a project's images.
pub async fn usage_get(db: &Db, scope: &Scope) -> Result<u64, Error> {
    let usage = db.get::<UsageRecord>(&usage_key(scope)).await?;
    Ok(usage.unwrap_or_default().bytes)
}

/// Adds to the bytes of a project's images and takes away from them; gives what they then are.
pub async fn usage_change(
    tx: &mut Transaction,
    scope: &Scope,
    added: u64,
    removed: u64,
) -> Result<u64, Error> {
    let usage = tx.get::<UsageRecord>(&usage_key(scope)).await?;
    let bytes = usage.unwrap_or_default().bytes;
    let bytes = bytes.saturating_add(added).saturating_sub(removed);
    tx.put(&usage_key(scope), &UsageRecord { bytes })?;
    Ok(bytes)
}

/// The SHA-256 of every file that an image refers to.
pub async fn blobs_in_use(db: &Db) -> Result<std::collections::HashSet<String>, Error> {
    let images = db.scan::<ImageRecord>(IMAGES_PREFIX).await?;
    let files = images.into_iter().flat_map(|(_, image)| image.files);
    Ok(files.map(|file| file.sha256).collect())
}

/// The bytes that digests in events are of.
pub fn image_bytes(image: &Image) -> Result<Vec<u8>, Error> {
    flaredb::encode(&image_key(image.id), &ImageRecord::of(image))
}

#[cfg(test)]
mod tests;
