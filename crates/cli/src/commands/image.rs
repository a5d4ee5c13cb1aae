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

use super::{all_pages, confirm, label_map, parse_label, present};
use crate::error::Failure;
use crate::output::{Column, Output, Progress};
use crate::session::Session;

const MESSAGE: &str = "plasmavmc.v1.Image";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("FORMAT", "format"),
    ("PUBLIC", "public"),
    ("DISK BYTES", "virtual_size_bytes"),
    ("PROJECT", "project_id"),
    ("CREATED", "created_at"),
];

/// Bytes of a chunk; the API allows 1 MiB.
const CHUNK: usize = 256 * 1024;

/// Images.
#[derive(Subcommand)]
pub enum ImageCommand {
    /// Import a disk, or a kernel and initrd.
    Import(NewImage),
    /// Show one.
    Get {
        /// Name or id.
        name: String,
    },
    /// List the project's and public ones.
    List,
    /// Change name, description or labels.
    Update {
        /// Name or id.
        name: String,
        /// New name.
        #[arg(long)]
        rename: Option<String>,
        /// New description.
        #[arg(long)]
        description: Option<String>,
        /// Whether every tenant may use it (operators).
        #[arg(long)]
        public: Option<bool>,
        /// KEY=VALUE; replaces all labels; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Remove one that no VM uses any more.
    Delete {
        /// Name or id.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
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
    /// KEY=VALUE; can be repeated.
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
}

/// Formats of a disk's file.
#[derive(Clone, Copy, ValueEnum)]
pub enum DiskFormat {
    /// The disk's bytes.
    Raw,
    /// QEMU's format.
    Qcow2,
}

/// The image of this name or id.
pub async fn find(session: &Session, name: &str) -> Result<Image, Failure> {
    let request = GetImageRequest {
        id: name.to_owned(),
        org_id: session.org(),
        project_id: session.project(),
    };
    let answer = session
        .images()
        .await?
        .get_image(request)
        .await?
        .into_inner();
    present(answer.image, "image")
}

/// `photon image`
pub async fn run(command: ImageCommand, session: &Session, output: &Output) -> Result<(), Failure> {
    let mut images = session.images().await?;
    match command {
        ImageCommand::Import(new) => import(new, session, output).await,
        ImageCommand::Get { name } => output.one(MESSAGE, &find(session, &name).await?),
        ImageCommand::List => {
            let request = ListImagesRequest {
                org_id: session.org(),
                project_id: session.project(),
                ..Default::default()
            };
            let all = all_pages!(images, list_images, images, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        ImageCommand::Update {
            name,
            rename,
            description,
            public,
            labels,
        } => {
            let request = UpdateImageRequest {
                id: find(session, &name).await?.id,
                name: rename,
                description,
                labels: (!labels.is_empty()).then(|| Labels {
                    labels: label_map(&labels),
                }),
                public,
                ..Default::default()
            };
            let answer = images.update_image(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.image, "image")?)
        }
        ImageCommand::Delete { name, yes } => {
            let image = find(session, &name).await?;
            confirm(yes, &format!("Remove image {}?", image.name))?;
            images
                .delete_image(DeleteImageRequest {
                    id: image.id,
                    ..Default::default()
                })
                .await?;
            output.done(&format!("Image {name} is gone."));
            Ok(())
        }
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

async fn import(new: NewImage, session: &Session, output: &Output) -> Result<(), Failure> {
    let (format, parts) = parts(&new);
    let mut total = 0;
    for (_, path) in &parts {
        let about = tokio::fs::metadata(path)
            .await
            .map_err(|error| Failure::file("read", path, error))?;
        total += about.len();
    }
    let header = ImportImageHeader {
        org_id: session.org(),
        project_id: session.project(),
        name: new.name,
        description: new.description,
        format: format.into(),
        public: new.public,
        kernel_command_line: new.command_line,
        labels: label_map(&new.labels),
        ..Default::default()
    };
    // A short queue: reading waits for the network, so that a large image never lies in memory.
    let (sender, receiver) = mpsc::channel(4);
    let reading = async move {
        let mut progress = Progress::new();
        let mut sent = 0;
        let first = ImportImageRequest {
            message: Some(Message::Header(header)),
        };
        if sender.send(first).await.is_err() {
            return Ok(());
        }
        for (part, path) in parts {
            if !send_file(part, &path, &sender, |bytes| {
                sent += bytes;
                progress.show(&format!("{} of {} MiB", sent >> 20, total >> 20));
            })
            .await?
            {
                break;
            }
        }
        progress.finish();
        Ok::<(), Failure>(())
    };
    let mut images = session.images().await?;
    let calling = images.import_image(ReceiverStream::new(receiver));
    let (read, answer) = tokio::join!(reading, calling);
    read?;
    output.one(MESSAGE, &present(answer?.into_inner().image, "image")?)
}

/// Sends a file in chunks; false when the server has stopped listening (its answer says why).
async fn send_file(
    part: ImagePart,
    path: &Path,
    sender: &mpsc::Sender<ImportImageRequest>,
    mut sent: impl FnMut(u64),
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
        sent(length as u64);
    }
}
