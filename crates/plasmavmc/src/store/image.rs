//! Images in the store.

use std::collections::HashSet;

use flaredb::{Db, Record, Transaction};
use photon_catalog::list::list_of_index;
use photon_catalog::quota::Uses;
use photon_catalog::{Common, Listing, Query, Reference, Stored, Users};
use photon_catalog::{insert, list, load, remove, replace};
use photon_resource::{Error, ImageId, Kind, Labels, PageRequest, PrincipalId, Scope, Time};
use serde::{Deserialize, Serialize};

use crate::model::{Image, ImageFile, ImageFormat, ImagePart, kind};

/// The stored form of an image.
#[derive(Serialize, Deserialize)]
pub struct ImageRecord {
    #[serde(with = "scope_text")]
    scope: Scope,
    owner: PrincipalId,
    name: String,
    description: String,
    format: FormatRecord,
    files: Vec<FileRecord>,
    public: bool,
    virtual_size_bytes: u64,
    kernel_command_line: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    default_user: String,
    labels: Labels,
    created_at: Time,
    updated_at: Time,
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

/// A scope as it prints itself.
mod scope_text {
    use photon_resource::Scope;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(scope: &Scope, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(scope)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scope, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl From<&Image> for ImageRecord {
    fn from(image: &Image) -> Self {
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
            scope: image.scope.clone(),
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
            default_user: image.default_user.clone(),
            labels: image.labels.clone(),
            created_at: image.created_at,
            updated_at: image.updated_at,
            revision: image.revision,
        }
    }
}

impl Stored for Image {
    type Id = ImageId;
    type Record = ImageRecord;
    const TABLE: &'static str = "image";
    const KIND: Kind = kind::IMAGES;
    const OF_SYSTEM: bool = true;

    fn id(&self) -> ImageId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn common(&self) -> Common<'_> {
        Common {
            name: Some(&self.name),
            owner: Some(self.owner),
            labels: Some(&self.labels),
            revision: self.revision,
        }
    }

    fn uses(&self) -> Uses {
        vec![("images", 1), ("image_bytes", self.stored_bytes())]
    }

    fn name_key(scope: &Scope, name: &str) -> Option<String> {
        match scope {
            // An organization has images in its projects alone.
            Scope::Org(_) => None,
            scope => Some(format!("image-name/{}/{name}", scope_segments(scope))),
        }
    }

    fn list_key(&self) -> String {
        format!("image-in/{}/{}", scope_segments(&self.scope), self.id)
    }

    fn restore(id: ImageId, record: ImageRecord) -> Result<Self, Error> {
        let file = |file: FileRecord| ImageFile {
            part: match file.part {
                PartRecord::Disk => ImagePart::Disk,
                PartRecord::Kernel => ImagePart::Kernel,
                PartRecord::Initrd => ImagePart::Initrd,
            },
            sha256: file.sha256,
            size_bytes: file.size_bytes,
        };
        Ok(Self {
            id,
            scope: record.scope,
            owner: record.owner,
            name: record.name,
            description: record.description,
            format: match record.format {
                FormatRecord::Raw => ImageFormat::Raw,
                FormatRecord::Qcow2 => ImageFormat::Qcow2,
                FormatRecord::KernelInitrd => ImageFormat::KernelInitrd,
            },
            files: record.files.into_iter().map(file).collect(),
            public: record.public,
            virtual_size_bytes: record.virtual_size_bytes,
            kernel_command_line: record.kernel_command_line,
            default_user: record.default_user,
            labels: record.labels,
            created_at: record.created_at,
            updated_at: record.updated_at,
            revision: record.revision,
        })
    }
}

const PUBLIC_PREFIX: &str = "image-public/";

/// No organization or project can be called `-`.
fn scope_segments(scope: &Scope) -> String {
    match scope {
        Scope::Project(org, project) => format!("{org}/{project}"),
        _ => "-/-".to_owned(),
    }
}

fn public_key(name: &str) -> String {
    format!("{PUBLIC_PREFIX}{name}")
}

/// The VMs that start from an image.
pub fn users_of_image(image: ImageId) -> Users {
    Users::new(
        format!("image-user/{image}/"),
        format!("image-users/{image}"),
    )
}

/// The public image of this name.
pub async fn public_image(db: &Db, name: &str) -> Result<Option<Image>, Error> {
    match db.get::<Reference>(&public_key(name)).await? {
        Some(entry) => load(db, &entry.id.parse()?).await,
        None => Ok(None),
    }
}

/// Adds an image. Errors: `AlreadyExists` when its name is taken, in its project or among the public ones.
pub async fn image_create(tx: &mut Transaction, image: &Image) -> Result<(), Error> {
    insert(tx, image).await?;
    if image.public {
        claim_public_name(tx, image).await?;
    }
    Ok(())
}

/// Stores a changed image. Errors: as [`image_create`].
pub async fn image_update(
    tx: &mut Transaction,
    before: &Image,
    after: &Image,
) -> Result<(), Error> {
    replace(tx, before, after).await?;
    if before.public && after.public && before.name == after.name {
        return Ok(());
    }
    if before.public {
        tx.delete(&public_key(&before.name));
    }
    if after.public {
        claim_public_name(tx, after).await?;
    }
    Ok(())
}

async fn claim_public_name(tx: &mut Transaction, image: &Image) -> Result<(), Error> {
    let key = public_key(&image.name);
    if tx.get::<Reference>(&key).await?.is_some() {
        return Err(Error::already_exists("public image", &image.name));
    }
    tx.put(&key, &Reference::to(image.id))?;
    Ok(())
}

/// Removes an image's records; its files stay until nothing refers to them.
pub fn image_remove(tx: &mut Transaction, image: &Image) {
    if image.public {
        tx.delete(&public_key(&image.name));
    }
    users_of_image(image.id).forget(tx);
    remove(tx, image);
}

/// One page: the scope's own images, then the public ones of others.
///
/// Errors: `InvalidArgument` for the page token of another list.
pub async fn image_list(db: &Db, query: Query) -> Result<Listing<Image>, Error> {
    let Query {
        scope,
        name,
        labels,
        page,
    } = query;
    let named = |image: &Image| name.is_empty() || image.name == name;
    let part = |scope: &Scope, size: usize, after: Option<String>| Query {
        scope: scope.clone(),
        // Many can have the name: those of several projects.
        name: String::new(),
        labels: labels.clone(),
        page: PageRequest { size, after },
    };
    let in_public = |after: &String| after.starts_with(PUBLIC_PREFIX);
    let (mut shown, after) = if page.after.as_ref().is_some_and(in_public) {
        let none = Listing {
            items: Vec::new(),
            next_page_token: String::new(),
            revision: db.revision().await?,
        };
        (none, page.after)
    } else {
        let own = list(db, part(&scope, page.size, page.after), named).await?;
        (own, None)
    };
    if !shown.next_page_token.is_empty() {
        return Ok(shown);
    }
    // An own image that is public stands among the own ones already.
    let others = |image: &Image| named(image) && !scope.contains(&image.scope);
    let room = page.size - shown.items.len();
    // Even without room: whether there is another page.
    let query = part(&Scope::System, room.max(1), after);
    let rest = list_of_index(db, PUBLIC_PREFIX, query, others).await?;
    if room > 0 {
        shown.items.extend(rest.items);
        shown.next_page_token = rest.next_page_token;
    } else if !rest.items.is_empty() {
        shown.next_page_token = PageRequest::token(PUBLIC_PREFIX);
    }
    Ok(shown)
}

/// The SHA-256 of every file that an image refers to.
pub async fn blobs_in_use(db: &Db) -> Result<HashSet<String>, Error> {
    let images = db.scan::<ImageRecord>("image/").await?;
    let files = images.into_iter().flat_map(|(_, image)| image.files);
    Ok(files.map(|file| file.sha256).collect())
}

#[cfg(test)]
mod tests;
