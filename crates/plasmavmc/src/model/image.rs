//! Images: named, immutable content.

use std::time::SystemTime;

use photon_resource::{ImageId, PrincipalId, ResourceName, Scope};

use super::Labels;

/// What kind of content an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    Raw,
    Qcow2,
    KernelInitrd,
}

impl ImageFormat {
    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "IMAGE_FORMAT_RAW",
            Self::Qcow2 => "IMAGE_FORMAT_QCOW2",
            Self::KernelInitrd => "IMAGE_FORMAT_KERNEL_INITRD",
        }
    }

    /// The files that such an image has, all of them needed.
    pub fn parts(self) -> &'static [ImagePart] {
        match self {
            Self::Raw | Self::Qcow2 => &[ImagePart::Disk],
            Self::KernelInitrd => &[ImagePart::Kernel, ImagePart::Initrd],
        }
    }

    /// Whether a disk can start from it.
    pub fn is_disk(self) -> bool {
        matches!(self, Self::Raw | Self::Qcow2)
    }
}

/// Which file of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImagePart {
    Disk,
    Kernel,
    Initrd,
}

impl ImagePart {
    /// As people name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
        }
    }
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    pub part: ImagePart,
    /// SHA-256 of the content in lower-case hex; the name of the file in the store of blobs.
    pub sha256: String,
    pub size_bytes: u64,
}

/// A registered image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub id: ImageId,
    /// `Scope::System` for the cloud's own images, else a project.
    pub scope: Scope,
    /// Who imported it.
    pub owner: PrincipalId,
    pub name: String,
    pub description: String,
    pub format: ImageFormat,
    pub files: Vec<ImageFile>,
    pub public: bool,
    /// What the guest sees, in bytes; 0 for kernel and initrd.
    pub virtual_size_bytes: u64,
    pub kernel_command_line: String,
    pub labels: Labels,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    /// 1 at creation, then one more with each change.
    pub revision: u64,
}

impl Image {
    /// The resource's type in names and policies.
    pub const KIND: &'static str = "images";

    pub fn resource_name(&self) -> ResourceName {
        ResourceName::new(self.scope.clone(), Self::KIND, self.id)
    }

    /// What it counts against its project's quota, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    pub fn file(&self, part: ImagePart) -> Option<&ImageFile> {
        self.files.iter().find(|file| file.part == part)
    }
}
