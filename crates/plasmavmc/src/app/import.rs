//! ImportImage: content comes as a stream of unknown length from somebody who may mean harm. It is written to
//! the disk as it comes, counted and summed up, judged when it is complete, and registered only then.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::SystemTime;

use photon_api::plasmavmc::v1;
use photon_resource::{
    Caller, Error, ImageId, ResourceName, Scope, validate_description, validate_labels,
    validate_resource_name,
};
use photon_service::Mutation;

use super::Images;
use super::access::attributes;
use super::image::taken_error;
use crate::image_format::{FormatError, check_initrd, inspect_kernel, inspect_qcow2, inspect_raw};
use crate::model::vm::check_command_line;
use crate::model::{Image, ImageFile, ImageFormat, ImagePart};
use crate::store::blob::{Upload, Written};
use crate::{convert, store};

const ACTION: &str = "compute:images:create";
/// The most of one chunk, in bytes, as the API says.
const MAX_CHUNK: usize = 1 << 20;

/// An import under way.
pub struct Import {
    images: Images,
    caller: Caller,
    mutation: Mutation,
    header: v1::ImportImageHeader,
    scope: Scope,
    format: ImageFormat,
    expected: HashMap<ImagePart, (String, u64)>,
    /// The most that all files together may have, in bytes, and what is said when it is more.
    limit: (u64, String),
    uploads: BTreeMap<ImagePart, Upload>,
    received: u64,
}

/// How an import begins.
pub enum Begun {
    /// Send the content.
    Import(Box<Import>),
    /// It was imported by an earlier call with this `request_id`.
    Imported(Box<v1::ImportImageResponse>),
}

impl Images {
    /// Begins an import: everything that the header says is checked before any content is taken.
    pub async fn import(
        &self,
        caller: &Caller,
        header: v1::ImportImageHeader,
    ) -> Result<Begun, Error> {
        let of_system = caller.claims.org_id.is_none()
            && header.org_id.is_empty()
            && header.project_id.is_empty();
        let scope = if of_system {
            Scope::System
        } else {
            let guard = self.access.guard();
            let (org, project) = guard.scope(caller, &header.org_id, &header.project_id)?;
            Scope::Project(org, project)
        };
        let all = ResourceName::any(scope.clone(), Image::KIND);
        let owner = caller.claims.principal_id.to_string();
        let labels = header.labels.clone();
        let facts = attributes(&header.name, &owner, &labels);
        self.access.ask(caller, ACTION, &all, &facts).await?;
        if header.public {
            self.may_publish(caller, ACTION, &all).await?;
        }
        let mutation = self
            .mutations
            .start(caller, ACTION, &header.request_id, &header)?;
        if let Some(first) = mutation.replay(&mut self.db.begin()).await? {
            return Ok(Begun::Imported(Box::new(first)));
        }
        validate_resource_name("name", &header.name)?;
        validate_description(&header.description)?;
        validate_labels(&header.labels)?;
        let format = convert::image_format("format", header.format)?;
        check_command_line("kernel_command_line", &header.kernel_command_line)?;
        if !header.kernel_command_line.is_empty() && format != ImageFormat::KernelInitrd {
            return Err(Error::invalid(
                "kernel_command_line",
                &header.kernel_command_line,
                "nothing, unless format is IMAGE_FORMAT_KERNEL_INITRD",
            ));
        }
        let expected = expected_files(format, &header.expected_files)?;
        let limit = self.limit(&scope).await?;
        Ok(Begun::Import(Box::new(Import {
            images: self.clone(),
            caller: caller.clone(),
            mutation,
            header,
            scope,
            format,
            expected,
            limit,
            uploads: BTreeMap::new(),
            received: 0,
        })))
    }

    async fn limit(&self, scope: &Scope) -> Result<(u64, String), Error> {
        let most = self.settings.image_max_bytes;
        let message = format!("an import may have at most {most} bytes");
        if *scope == Scope::System {
            return Ok((most, message));
        }
        let used = store::image::usage_get(&self.db, scope).await?;
        let free = self.settings.image_quota_bytes.saturating_sub(used);
        if free < most {
            return Ok((free, self.over_quota(used)));
        }
        Ok((most, message))
    }

    fn over_quota(&self, used: u64) -> String {
        format!(
            "the images of a project may have at most {} bytes together, and {used} are used: delete some, or \
             ask an operator for more",
            self.settings.image_quota_bytes
        )
    }
}

impl Import {
    /// Takes the next chunk.
    pub async fn chunk(&mut self, chunk: v1::ImportImageChunk) -> Result<(), Error> {
        let part = convert::image_part("chunk.part", chunk.part)?;
        if !self.format.parts().contains(&part) {
            let parts: Vec<&str> = self
                .format
                .parts()
                .iter()
                .map(|part| part.as_str())
                .collect();
            return Err(Error::invalid(
                "chunk.part",
                part.as_str(),
                format!(
                    "{}, which is what {} has",
                    parts.join(" or "),
                    self.format.as_str()
                ),
            ));
        }
        if chunk.data.len() > MAX_CHUNK {
            let value = format!("({} bytes)", chunk.data.len());
            return Err(Error::invalid("chunk.data", value, "at most 1048576 bytes"));
        }
        self.received += chunk.data.len() as u64;
        if self.received > self.limit.0 {
            return Err(Error::ResourceExhausted(self.limit.1.clone()));
        }
        let upload = match self.uploads.remove(&part) {
            Some(upload) => upload,
            None => self.images.blobs.create().await.map_err(disk_error)?,
        };
        let upload = upload.write(chunk.data).await.map_err(disk_error)?;
        if let Some((_, size)) = self.expected.get(&part)
            && *size != 0
            && upload.size() > *size
        {
            return Err(Error::invalid(
                format!("content of the {}", part.as_str()),
                format!("(more than {size} bytes)"),
                format!("the {size} bytes that expected_files announces"),
            ));
        }
        self.uploads.insert(part, upload);
        Ok(())
    }

    /// The content is complete: judges it and registers the image.
    pub async fn finish(mut self: Box<Self>) -> Result<v1::ImportImageResponse, Error> {
        let mut files = Vec::new();
        for part in self.format.parts() {
            let Some(upload) = self.uploads.remove(part) else {
                return Err(Error::invalid(
                    format!("content of the {}", part.as_str()),
                    "",
                    format!(
                        "at least one chunk of it, since format is {}",
                        self.format.as_str()
                    ),
                ));
            };
            files.push((*part, upload.finish().await.map_err(disk_error)?));
        }
        for (part, written) in &files {
            self.compare(*part, written)?;
        }
        let mut virtual_size_bytes = 0;
        for (part, written) in &files {
            virtual_size_bytes += inspect(self.format, *part, written)?;
        }
        // The stream may have taken hours.
        let all = ResourceName::any(self.scope.clone(), Image::KIND);
        self.images
            .access
            .ask(&self.caller, ACTION, &all, &self.facts())
            .await?;

        let image = self.image(&files, virtual_size_bytes);
        let held = self.images.blobs.hold().await;
        for (_, written) in files {
            self.images
                .blobs
                .keep(written, &held)
                .await
                .map_err(disk_error)?;
        }
        let registered = register(&self.images, &mut self.mutation, image).await;
        drop(held);
        if registered.is_err() {
            // The files have their names already, and perhaps nothing refers to them.
            self.images.collect_garbage().await;
        }
        registered
    }

    fn facts(&self) -> Vec<(String, String)> {
        let owner = self.caller.claims.principal_id.to_string();
        let labels = self.header.labels.clone();
        attributes(&self.header.name, &owner, &labels)
    }

    /// Compares with what the caller said that it would be.
    fn compare(&self, part: ImagePart, written: &Written) -> Result<(), Error> {
        let Some((sha256, size)) = self.expected.get(&part) else {
            return Ok(());
        };
        let field = format!("content of the {}", part.as_str());
        if *size != 0 && *size != written.size {
            return Err(Error::invalid(
                field,
                format!("({} bytes)", written.size),
                format!("the {size} bytes that expected_files announces"),
            ));
        }
        if !sha256.is_empty() && *sha256 != written.sha256 {
            return Err(Error::invalid(
                field,
                format!("SHA-256 {}", written.sha256),
                format!("{sha256}, which expected_files announces"),
            ));
        }
        Ok(())
    }

    fn image(&self, files: &[(ImagePart, Written)], virtual_size_bytes: u64) -> Image {
        let now = SystemTime::now();
        let files = files.iter().map(|(part, written)| ImageFile {
            part: *part,
            sha256: written.sha256.clone(),
            size_bytes: written.size,
        });
        Image {
            id: ImageId::generate(),
            scope: self.scope.clone(),
            owner: self.caller.claims.principal_id,
            name: self.header.name.clone(),
            description: self.header.description.clone(),
            format: self.format,
            files: files.collect(),
            public: self.header.public,
            virtual_size_bytes,
            kernel_command_line: self.header.kernel_command_line.clone(),
            labels: self.header.labels.clone(),
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }
}

/// Writes the record, the quota and the answer in one transaction.
async fn register(
    images: &Images,
    mutation: &mut Mutation,
    image: Image,
) -> Result<v1::ImportImageResponse, Error> {
    loop {
        let mut tx = images.db.begin();
        if let Some(first) = mutation.replay(&mut tx).await? {
            return Ok(first);
        }
        if image.scope != Scope::System {
            let size = image.stored_bytes();
            let used = store::image::usage_change(&mut tx, &image.scope, size, 0).await?;
            if used > images.settings.image_quota_bytes {
                let (used, limit) = (used - size, images.settings.image_quota_bytes);
                let text = images.over_quota(used);
                return Err(Error::quota_exceeded("image_bytes", used, limit, text));
            }
        }
        if let Err(taken) = store::image::image_put(&mut tx, None, &image).await? {
            // It may be this very call, sent twice, that has taken the name: then the answer is there now.
            if tx.holds().await? {
                return Err(taken_error(&taken, &image.name));
            }
            continue;
        }
        let bytes = store::image::image_bytes(&image)?;
        let response = v1::ImportImageResponse {
            image: Some(convert::image_to_wire(&image)),
        };
        let name = image.resource_name();
        let committed = mutation.commit(tx, &name, None, Some(&bytes), "", response, None);
        if let Some(response) = committed.await? {
            return Ok(response);
        }
    }
}

/// Judges a file; gives the size that a guest sees of a disk, and 0 for others.
fn inspect(format: ImageFormat, part: ImagePart, written: &Written) -> Result<u64, Error> {
    let (head, size) = (&written.head, written.size);
    let judged = match (format, part) {
        (ImageFormat::Raw, _) => inspect_raw(head, size),
        (ImageFormat::Qcow2, _) => inspect_qcow2(head, size).map(|found| found.virtual_size),
        (ImageFormat::KernelInitrd, ImagePart::Kernel) => inspect_kernel(head, size).map(|_| 0),
        (ImageFormat::KernelInitrd, _) => check_initrd(head, size).map(|()| 0),
    };
    judged.map_err(|error: FormatError| Error::InvalidArgument {
        field: format!("content of the {}", part.as_str()),
        value: format!("SHA-256 {}", written.sha256),
        expected: format!("{}, but it {error}", format.as_str()),
    })
}

fn expected_files(
    format: ImageFormat,
    files: &[v1::ImageFile],
) -> Result<HashMap<ImagePart, (String, u64)>, Error> {
    let mut expected = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        let field = format!("expected_files[{index}]");
        let part = convert::image_part(&format!("{field}.part"), file.part)?;
        let sum = file.sha256.to_ascii_lowercase();
        let is_sum = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_sum && !sum.is_empty() {
            let field = format!("{field}.sha256");
            return Err(Error::invalid(field, &file.sha256, "64 hexadecimal digits"));
        }
        let twice = expected.insert(part, (sum, file.size_bytes)).is_some();
        if twice || !format.parts().contains(&part) {
            return Err(Error::invalid(
                format!("{field}.part"),
                part.as_str(),
                format!("each part of {} at most once", format.as_str()),
            ));
        }
    }
    Ok(expected)
}

fn disk_error(error: io::Error) -> Error {
    if [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind()) {
        tracing::error!(%error, "no room for images");
        return Error::ResourceExhausted(
            "the cloud has no room left for images: an operator has to make some".to_owned(),
        );
    }
    Error::internal(error)
}
