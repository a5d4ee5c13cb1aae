//! ImportImage: content comes as a stream of unknown length from somebody who may mean harm. It is written to
//! the disk as it comes, counted and summed up, judged when it is complete, and registered only then.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;

use async_trait::async_trait;
use chainfire::Ledger;
use flaredb::Transaction;
use photon_catalog::{Actor, Change, Effect, Stored, commit, commit_own, quota};
use photon_resource::Error;
use photon_resource::disk_format::{HEAD, SECTOR};
use photon_service::Mutation;

use super::Images;
use super::underway::Underway;
use crate::image_format::{
    CheckError, FormatError, check_clusters, check_initrd, inspect_kernel, inspect_qcow2,
    inspect_raw, qcow2_begins, raw_begins,
};
use crate::model::{Image, ImageFile, ImageFormat, ImagePart, NewImage};
use crate::store;
use crate::store::blob::{Kept, Upload, Written};

/// The most of one chunk, in bytes, as the API says.
const MAX_CHUNK: usize = 1 << 20;

/// An import under way.
pub struct Import {
    images: Images,
    new: NewImage,
    underway: Underway,
    uploads: BTreeMap<ImagePart, Upload>,
}

impl Images {
    /// Gives files their names. Until something refers to them, only the answer keeps them from being garbage.
    async fn keep(&self, files: Vec<Written>) -> Result<Kept<'_>, Error> {
        let held = self.blobs.hold().await;
        for written in files {
            self.blobs.keep(written, &held).await.map_err(disk_error)?;
        }
        Ok(held)
    }

    /// What an earlier call with this `request_id` was answered, which has imported the image.
    pub async fn imported<A: prost::Message + Default>(
        &self,
        mutation: &Mutation,
    ) -> Result<Option<A>, Error> {
        mutation.replay(&mut self.db.begin()).await
    }

    /// Begins an import: everything that is said beforehand is checked before any content is taken.
    ///
    /// Errors: `InvalidArgument`, `ResourceExhausted`.
    pub fn import(&self, new: NewImage) -> Result<Box<Import>, Error> {
        new.validate()?;
        let underway = self.underway.begin(new.scope.clone())?;
        Ok(Box::new(Import {
            images: self.clone(),
            new,
            underway,
            uploads: BTreeMap::new(),
        }))
    }
}

impl Import {
    /// Takes the next chunk.
    ///
    /// Errors: `InvalidArgument`, `ResourceExhausted`.
    pub async fn chunk(&mut self, part: ImagePart, data: Vec<u8>) -> Result<(), Error> {
        let format = self.new.format;
        if !format.parts().contains(&part) {
            let parts: Vec<&str> = format.parts().iter().map(|part| part.as_str()).collect();
            return Err(Error::invalid(
                "chunk.part",
                part.as_str(),
                format!(
                    "{}, which is what {} has",
                    parts.join(" or "),
                    format.as_str()
                ),
            ));
        }
        if data.len() > MAX_CHUNK {
            let value = format!("({} bytes)", data.len());
            return Err(Error::invalid("chunk.data", value, "at most 1048576 bytes"));
        }
        let most = self.images.settings.image_max_bytes;
        if self.underway.add(data.len() as u64) > most {
            let text = format!("an import may have at most {most} bytes");
            return Err(Error::ResourceExhausted(text));
        }
        let project = self.underway.of_project();
        quota::room(&self.images.db, &self.new.scope, "image_bytes", project).await?;
        let upload = match self.uploads.remove(&part) {
            Some(upload) => upload,
            None => self.images.blobs.create().await.map_err(disk_error)?,
        };
        let known = upload.head().len();
        let upload = upload.write(data).await.map_err(disk_error)?;
        let more = upload.head().len();
        if [SECTOR, HEAD]
            .iter()
            .any(|it| (known + 1..=more).contains(it))
        {
            begins(format, part, upload.head())?;
        }
        let announced = self.new.expected.get(&part).map(|it| it.size_bytes);
        if let Some(size) = announced.filter(|size| *size != 0)
            && upload.size() > size
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

    /// So many bytes will come.
    ///
    /// Errors: `ResourceExhausted`.
    pub(super) fn expects(&self, bytes: u64) -> Result<(), Error> {
        let most = self.images.settings.image_max_bytes;
        if bytes > most {
            let text = format!("an import may have at most {most} bytes, and this has {bytes}");
            return Err(Error::ResourceExhausted(text));
        }
        Ok(())
    }

    /// Of a disk whose format is first known by its beginning: it is this one.
    pub(super) fn is(&mut self, format: ImageFormat) {
        self.new.format = format;
    }

    /// The content is complete: judges it and registers the image, for the call that it came with.
    ///
    /// Errors: `InvalidArgument`, `AlreadyExists`, `ResourceExhausted`.
    pub async fn finish<A: prost::Message + Default>(
        mut self: Box<Self>,
        mutation: Mutation,
        answer: impl Fn(&Image) -> A,
    ) -> Result<A, Error> {
        let (image, files) = self.judged().await?;
        let images = self.images;
        let held = images.keep(files).await?;
        let registered = commit(&images.db, mutation, &mut Register { image }, answer).await;
        drop(held);
        if registered.is_err() {
            images.collect_garbage().await;
        }
        Ok(registered?.0)
    }

    /// As [`finish`](Self::finish), for the server itself.
    pub(super) async fn finish_own(
        mut self: Box<Self>,
        ledger: &Ledger,
        actor: &Actor,
    ) -> Result<Image, Error> {
        let (image, files) = self.judged().await?;
        let images = self.images;
        let held = images.keep(files).await?;
        let (action, mut change) = (Image::KIND.action("create"), Register { image });
        let registered = commit_own(&images.db, ledger, actor, &action, &mut change).await;
        drop(held);
        if registered.is_err() {
            images.collect_garbage().await;
        }
        registered
    }

    /// Judges the content: the image that it is, and its files.
    async fn judged(&mut self) -> Result<(Image, Vec<Written>), Error> {
        let format = self.new.format;
        let mut files = Vec::new();
        for part in format.parts() {
            let Some(upload) = self.uploads.remove(part) else {
                return Err(Error::invalid(
                    format!("content of the {}", part.as_str()),
                    "",
                    format!(
                        "at least one chunk of it, since format is {}",
                        format.as_str()
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
            virtual_size_bytes += inspect(format, *part, written).await?;
        }
        let described = files.iter().map(|(part, written)| ImageFile {
            part: *part,
            sha256: written.sha256.clone(),
            size_bytes: written.size,
        });
        let new = self.new.clone();
        let image = new.into_image(described.collect(), virtual_size_bytes);
        Ok((
            image,
            files.into_iter().map(|(_, written)| written).collect(),
        ))
    }

    /// Compares with what the caller said that it would be.
    fn compare(&self, part: ImagePart, written: &Written) -> Result<(), Error> {
        let Some(expected) = self.new.expected.get(&part) else {
            return Ok(());
        };
        let (sha256, size) = (&expected.sha256, expected.size_bytes);
        let field = format!("content of the {}", part.as_str());
        if size != 0 && size != written.size {
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
}

/// Writes the record.
struct Register {
    image: Image,
}

#[async_trait]
impl Change for Register {
    type Value = Image;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Image>, Error> {
        store::image::image_create(tx, &self.image).await?;
        Ok(Effect::on(self.image.clone()))
    }
}

/// Judges what has come of a file as soon as there is enough of it, so that nobody sends gigabytes in vain.
fn begins(format: ImageFormat, part: ImagePart, head: &[u8]) -> Result<(), Error> {
    let judged = match format {
        ImageFormat::Raw => raw_begins(head),
        ImageFormat::Qcow2 => qcow2_begins(head),
        ImageFormat::KernelInitrd => Ok(()),
    };
    judged.map_err(|error| refused(format, part, "(its beginning)", &error))
}

/// Judges a file; gives the size that a guest sees of a disk, and 0 for others.
async fn inspect(format: ImageFormat, part: ImagePart, written: &Written) -> Result<u64, Error> {
    let (head, size) = (&written.head, written.size);
    let judged = match (format, part) {
        (ImageFormat::Raw, _) => inspect_raw(head, &written.tail, size),
        (ImageFormat::Qcow2, _) => inspect_qcow2_file(written).await?,
        (ImageFormat::KernelInitrd, ImagePart::Kernel) => inspect_kernel(head, size).map(|_| 0),
        (ImageFormat::KernelInitrd, _) => check_initrd(head, size).map(|()| 0),
    };
    judged.map_err(|error| refused(format, part, &format!("({size} bytes)"), &error))
}

/// The header, and every table that it leads to.
async fn inspect_qcow2_file(written: &Written) -> Result<Result<u64, FormatError>, Error> {
    let size = written.size;
    let header = match inspect_qcow2(&written.head, size) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error)),
    };
    let checked = written
        .examine(move |file| {
            check_clusters(&header, size, |offset, buffer| {
                file.read_exact_at(buffer, offset)
            })
        })
        .await
        .map_err(Error::internal)?;
    match checked {
        Ok(()) => Ok(Ok(header.virtual_size)),
        Err(CheckError::Format(error)) => Ok(Err(error)),
        Err(CheckError::Read(error)) => Err(Error::internal(error)),
    }
}

fn refused(format: ImageFormat, part: ImagePart, value: &str, error: &FormatError) -> Error {
    Error::InvalidArgument {
        field: format!("content of the {}", part.as_str()),
        value: value.to_owned(),
        expected: format!("{}, but it {error}", format.as_str()),
    }
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
