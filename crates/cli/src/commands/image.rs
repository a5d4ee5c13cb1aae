//! Images.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use photon_api::plasmavmc::v1::{
    DeleteImageRequest, GetImageRequest, Image, ImageFile, ImageFormat, ImagePart,
    ImportImageChunk, ImportImageFromUrlRequest, ImportImageHeader, ImportImageRequest, Labels,
    ListImagesRequest, UpdateImageRequest, import_image_request::Message,
};
use photon_resource::disk_format::{self, Foreign};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{NewLabels, OtherLabels, Renaming, present};
use crate::error::Failure;
use crate::noun::{
    About, All, Changing, Desk, Listed, Noun, Once, One, Removal, Removing, USUAL, Words,
    plain_request,
};
use crate::output::{Column, Progress};

/// Bytes of a chunk; the API allows 1 MiB.
const CHUNK: usize = 256 * 1024;

/// Images that VMs start from.
pub struct Images;

impl Noun for Images {
    type Resource = Image;
    type Get = GetImageRequest;
    type Filter = All<ListImagesRequest>;
    type Update = Update;
    type Delete = DeleteImageRequest;

    const WORDS: Words = Words {
        noun: "image",
        list: "List the project's and public ones",
        delete: "Remove one that no VM uses any more",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("FORMAT", "format"),
        ("PUBLIC", "public"),
        ("DISK", "virtual_size_bytes"),
        ("PROJECT", "project_id"),
        ("AGE", "created_at"),
    ];
}

/// The verbs of images. One is imported, which is a stream of its content.
#[derive(Subcommand)]
pub enum ImageCommand {
    /// Import a disk, or a kernel and initrd.
    Import(Box<Changing<NewImage>>),
    #[command(about = Images::WORDS.get, visible_alias = "show")]
    Get(One<Images>),
    #[command(about = Images::WORDS.list, visible_alias = "ls")]
    List(Listed<All<ListImagesRequest>>),
    #[command(about = Images::WORDS.update)]
    Update(Changing<About<Images>>),
    #[command(about = Images::WORDS.delete, visible_alias = "rm")]
    Delete(Changing<Removal<Images>>),
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    meta: Renaming,
    /// Whether every tenant may use it (operators).
    #[arg(long)]
    public: Option<bool>,
    /// The user that its guests have for people to sign in as; "" if that is unknown.
    #[arg(long, value_name = "USER")]
    default_user: Option<String>,
    #[command(flatten)]
    labels: OtherLabels,
}

plain_request! {
    Update as UpdateImageRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
        public: this.public,
        default_user: this.default_user,
    }
}

/// An image to import.
#[derive(Args)]
pub struct NewImage {
    /// Its name, unique in the project.
    name: String,
    /// The disk.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["kernel", "url"], conflicts_with_all = ["kernel", "initrd", "url"])]
    disk: Option<PathBuf>,
    /// Where the disk is on the internet: the cloud fetches it.
    #[arg(long, requires = "sha256", conflicts_with_all = ["kernel", "initrd"])]
    url: Option<String>,
    /// What the disk's file is. Default: by its content.
    #[arg(long, value_enum, conflicts_with = "kernel")]
    format: Option<DiskFormat>,
    /// The disk's SHA-256, as its distributor says it: another content is refused.
    #[arg(long, value_name = "HEX", conflicts_with = "kernel")]
    sha256: Option<String>,
    /// The kernel.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The initrd.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line, unless a VM says otherwise.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        requires = "kernel"
    )]
    command_line: String,
    /// Every tenant may use it (operators).
    #[arg(long)]
    public: bool,
    /// What it is.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// The user that its guests have for people to sign in as, which gets a VM's SSH keys.
    #[arg(
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    default_user: String,
    #[command(flatten)]
    labels: NewLabels,
}

/// Formats of a disk's file.
#[derive(Clone, Copy, ValueEnum)]
pub enum DiskFormat {
    /// The disk's bytes.
    Raw,
    /// QEMU's format.
    Qcow2,
}

/// `photon image`
pub async fn run(command: ImageCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        ImageCommand::Import(new) => import(new.flags, &new.once, desk).await,
        ImageCommand::Get(one) => desk.show(one).await,
        ImageCommand::List(list) => desk.list::<Images>(list).await,
        ImageCommand::Update(change) => desk.update(change).await,
        ImageCommand::Delete(Changing { flags, once }) => flags.remove(&once, desk).await,
    }
}

/// A file to send, and what was read of it already.
struct Source {
    part: ImagePart,
    path: PathBuf,
    file: File,
    head: Vec<u8>,
}

impl Source {
    async fn open(part: ImagePart, path: &Path) -> Result<Self, Failure> {
        let wrong = |error| Failure::file("read", path, error);
        let mut file = File::open(path).await.map_err(wrong)?;
        let mut head = Vec::with_capacity(CHUNK);
        (&mut file)
            .take(CHUNK as u64)
            .read_to_end(&mut head)
            .await
            .map_err(wrong)?;
        Ok(Self {
            part,
            path: path.to_owned(),
            file,
            head,
        })
    }

    async fn size(&self) -> Result<u64, Failure> {
        let about = self.file.metadata().await;
        Ok(about
            .map_err(|error| Failure::file("read", &self.path, error))?
            .len())
    }

    /// The end of a file; nothing of what only comes, as a pipe.
    async fn tail(&mut self) -> Result<Vec<u8>, Failure> {
        let wrong = |error| Failure::file("read", &self.path, error);
        if !self.file.metadata().await.map_err(wrong)?.is_file() {
            return Ok(Vec::new());
        }
        let here = self.file.stream_position().await.map_err(wrong)?;
        let length = self.file.seek(SeekFrom::End(0)).await.map_err(wrong)?;
        let from = length.saturating_sub(disk_format::TAIL as u64);
        self.file.seek(SeekFrom::Start(from)).await.map_err(wrong)?;
        let mut tail = Vec::new();
        self.file.read_to_end(&mut tail).await.map_err(wrong)?;
        self.file.seek(SeekFrom::Start(here)).await.map_err(wrong)?;
        Ok(tail)
    }
}

/// What a disk's file is, by its content and by what was said of it. The server looks too; here it costs no upload.
async fn disk_format(
    source: &mut Source,
    said: Option<DiskFormat>,
) -> Result<ImageFormat, Failure> {
    let qcow2 = disk_format::is_qcow2(&source.head);
    let tail = if qcow2 {
        Vec::new()
    } else {
        source.tail().await?
    };
    let foreign = Foreign::in_head(&source.head).or_else(|| Foreign::in_tail(&tail));
    let path = source.path.display();
    match (foreign, said) {
        (Some(foreign), _) => Err(Failure::Local(format!("{path} is {foreign}"))),
        (None, Some(DiskFormat::Raw)) if qcow2 => Err(Failure::Local(format!(
            "{path} is qcow2: import it with --format qcow2, or without --format"
        ))),
        (None, Some(DiskFormat::Qcow2)) if !qcow2 => Err(Failure::Local(format!(
            "{path} is not qcow2: import it with --format raw if it holds the disk's bytes"
        ))),
        _ if qcow2 => Ok(ImageFormat::Qcow2),
        _ => Ok(ImageFormat::Raw),
    }
}

async fn sources(new: &NewImage) -> Result<(ImageFormat, Vec<Source>), Failure> {
    if let Some(disk) = &new.disk {
        let mut source = Source::open(ImagePart::Disk, disk).await?;
        let format = disk_format(&mut source, new.format).await?;
        return Ok((format, vec![source]));
    }
    let mut sources = Vec::new();
    for (part, path) in [
        (ImagePart::Kernel, &new.kernel),
        (ImagePart::Initrd, &new.initrd),
    ] {
        if let Some(path) = path {
            sources.push(Source::open(part, path).await?);
        }
    }
    Ok((ImageFormat::KernelInitrd, sources))
}

fn expected_disk(sha256: String) -> ImageFile {
    ImageFile {
        part: ImagePart::Disk.into(),
        sha256,
        // Not said.
        size_bytes: 0,
    }
}

/// Has the cloud fetch it.
async fn import_from(
    url: String,
    new: NewImage,
    once: &Once,
    desk: &Desk<'_>,
) -> Result<(), Failure> {
    let format = match new.format {
        None => ImageFormat::Unspecified,
        Some(DiskFormat::Raw) => ImageFormat::Raw,
        Some(DiskFormat::Qcow2) => ImageFormat::Qcow2,
    };
    let request = ImportImageFromUrlRequest {
        org_id: desk.session.org.clone(),
        project_id: desk.session.project.clone(),
        name: new.name,
        description: new.description,
        format: format.into(),
        public: new.public,
        url,
        labels: new.labels.map(),
        sha256: new.sha256.unwrap_or_default(),
        default_user: new.default_user,
        request_id: once.id(),
    };
    let refused = |status| desk.session.channels.error("plasmavmc", status);
    desk.session.fresh().await?;
    let mut images = desk.session.images();
    let answer = images.import_image_from_url(request).await;
    let mut told = answer.map_err(refused)?.into_inner();
    let progress = Progress::of_bytes(0);
    let mut imported = None;
    while let Some(news) = told.message().await.map_err(refused)? {
        progress.at(news.received_bytes, news.total_bytes);
        imported = news.image.or(imported);
    }
    progress.finish();
    desk.output.one(&present(imported, "image")?)
}

async fn import(mut new: NewImage, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    if let Some(url) = new.url.take() {
        return import_from(url, new, once, desk).await;
    }
    let (format, sources) = sources(&new).await?;
    let mut total = 0;
    for source in &sources {
        total += source.size().await?;
    }
    let header = ImportImageHeader {
        org_id: desk.session.org.clone(),
        project_id: desk.session.project.clone(),
        name: new.name,
        description: new.description,
        format: format.into(),
        public: new.public,
        kernel_command_line: new.command_line,
        labels: new.labels.map(),
        expected_files: new.sha256.map(expected_disk).into_iter().collect(),
        default_user: new.default_user,
        request_id: once.id(),
    };
    // A short queue: reading waits for the network, so that a large image never lies in memory.
    let (sender, receiver) = mpsc::channel(4);
    let reading = async move {
        let progress = Progress::of_bytes(total);
        let first = ImportImageRequest {
            message: Some(Message::Header(header)),
        };
        if sender.send(first).await.is_err() {
            return Ok(());
        }
        for source in sources {
            if !send_file(source, &sender, &progress).await? {
                break;
            }
        }
        progress.finish();
        Ok::<(), Failure>(())
    };
    desk.session.fresh().await?;
    let mut images = desk.session.images();
    let calling = images.import_image(ReceiverStream::new(receiver));
    let (read, answer) = tokio::join!(reading, calling);
    read?;
    let answer = answer.map_err(|status| desk.session.channels.error("plasmavmc", status))?;
    desk.output
        .one(&present(answer.into_inner().image, "image")?)
}

/// Sends a file in chunks; false when the server has stopped listening (its answer says why).
async fn send_file(
    source: Source,
    sender: &mpsc::Sender<ImportImageRequest>,
    progress: &Progress,
) -> Result<bool, Failure> {
    let Source {
        part,
        path,
        mut file,
        head,
    } = source;
    let mut data = head;
    while !data.is_empty() {
        let length = data.len() as u64;
        let chunk = ImportImageChunk {
            part: part.into(),
            data,
        };
        let message = ImportImageRequest {
            message: Some(Message::Chunk(chunk)),
        };
        if sender.send(message).await.is_err() {
            return Ok(false);
        }
        progress.count(length);
        data = vec![0; CHUNK];
        let length = file
            .read(&mut data)
            .await
            .map_err(|error| Failure::file("read", &path, error))?;
        data.truncate(length);
    }
    Ok(true)
}
