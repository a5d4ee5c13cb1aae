//! Images.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use photon_api::plasmavmc::v1::{
    DeleteImageRequest, GetImageRequest, Image, ImageFormat, ImagePart, ImportImageChunk,
    ImportImageHeader, ImportImageRequest, Labels, ListImagesRequest, UpdateImageRequest,
    import_image_request::Message,
};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{NewLabels, OtherLabels, Renaming, present};
use crate::error::Failure;
use crate::noun::{
    About, All, Changing, Desk, Noun, Once, One, Removal, USUAL, Words, plain_request,
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
        ("DISK BYTES", "virtual_size_bytes"),
        ("PROJECT", "project_id"),
        ("CREATED", "created_at"),
    ];
}

/// The verbs of images. One is imported, which is a stream of its content.
#[derive(Subcommand)]
pub enum ImageCommand {
    /// Import a disk, or a kernel and initrd.
    Import(Box<Changing<NewImage>>),
    #[command(about = Images::WORDS.get)]
    Get(One<Images>),
    #[command(about = Images::WORDS.list)]
    List(All<ListImagesRequest>),
    #[command(about = Images::WORDS.update)]
    Update(Changing<About<Images>>),
    #[command(about = Images::WORDS.delete)]
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
    #[command(flatten)]
    labels: OtherLabels,
}

plain_request! {
    Update as UpdateImageRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
        public: this.public,
    }
}

/// An image to import.
#[derive(Args)]
pub struct NewImage {
    /// Its name, unique in the project.
    name: String,
    /// The disk.
    #[arg(long, value_name = "FILE", required_unless_present = "kernel", conflicts_with_all = ["kernel", "initrd"])]
    disk: Option<PathBuf>,
    /// What the disk's file is. Default: by its name's end (.qcow2, else raw).
    #[arg(long, value_enum, requires = "disk")]
    format: Option<DiskFormat>,
    /// The kernel.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The initrd.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line, unless a VM says otherwise.
    #[arg(long, default_value = "", requires = "kernel")]
    command_line: String,
    /// Every tenant may use it (operators).
    #[arg(long)]
    public: bool,
    /// What it is.
    #[arg(long, default_value = "")]
    description: String,
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
        ImageCommand::List(filter) => desk.list::<Images>(filter).await,
        ImageCommand::Update(change) => desk.update(change).await,
        ImageCommand::Delete(removal) => desk.remove(removal).await,
    }
}

fn parts(new: &NewImage) -> (ImageFormat, Vec<(ImagePart, PathBuf)>) {
    if let Some(disk) = &new.disk {
        let by_name = disk.extension().is_some_and(|end| end == "qcow2");
        let format = match new.format {
            Some(DiskFormat::Qcow2) => ImageFormat::Qcow2,
            None if by_name => ImageFormat::Qcow2,
            _ => ImageFormat::Raw,
        };
        return (format, vec![(ImagePart::Disk, disk.clone())]);
    }
    let kernel = new
        .kernel
        .iter()
        .map(|path| (ImagePart::Kernel, path.clone()));
    let initrd = new
        .initrd
        .iter()
        .map(|path| (ImagePart::Initrd, path.clone()));
    (ImageFormat::KernelInitrd, kernel.chain(initrd).collect())
}

async fn import(new: NewImage, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let (format, parts) = parts(&new);
    let mut total = 0;
    for (_, path) in &parts {
        let about = tokio::fs::metadata(path)
            .await
            .map_err(|error| Failure::file("read", path, error))?;
        total += about.len();
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
        request_id: once.id(),
        ..Default::default()
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
        for (part, path) in parts {
            if !send_file(part, &path, &sender, &progress).await? {
                break;
            }
        }
        progress.finish();
        Ok::<(), Failure>(())
    };
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
    part: ImagePart,
    path: &Path,
    sender: &mpsc::Sender<ImportImageRequest>,
    progress: &Progress,
) -> Result<bool, Failure> {
    let wrong = |error| Failure::file("read", path, error);
    let mut file = tokio::fs::File::open(path).await.map_err(wrong)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = file.read(&mut buffer).await.map_err(wrong)?;
        if length == 0 {
            return Ok(true);
        }
        let chunk = ImportImageChunk {
            part: part.into(),
            data: buffer[..length].to_vec(),
        };
        let message = ImportImageRequest {
            message: Some(Message::Chunk(chunk)),
        };
        if sender.send(message).await.is_err() {
            return Ok(false);
        }
        progress.count(length as u64);
    }
}
