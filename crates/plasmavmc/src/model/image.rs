//! Images: named, immutable content.

use std::collections::HashMap;

use photon_resource::{
    Changes, Error, ImageId, Labels, PrincipalId, Scope, Time, validate_description,
    validate_labels, validate_resource_name,
};

use super::kind;
use super::vm::check_command_line;

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

/// What an import says beforehand that a file will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedFile {
    /// In lower-case hex; empty: not said.
    pub sha256: String,
    /// 0: not said.
    pub size_bytes: u64,
}

/// An image to be imported, as it is announced before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    pub scope: Scope,
    pub owner: PrincipalId,
    pub name: String,
    pub description: String,
    pub labels: Labels,
    pub format: ImageFormat,
    pub public: bool,
    pub kernel_command_line: String,
    /// Whom its guests have for people to sign in as; empty: unknown.
    pub default_user: String,
    pub expected: HashMap<ImagePart, ExpectedFile>,
}

impl NewImage {
    /// Errors: `InvalidArgument`.
    pub fn validate(&self) -> Result<(), Error> {
        validate_resource_name("name", &self.name)?;
        validate_description(&self.description)?;
        validate_labels(&self.labels)?;
        check_default_user("default_user", &self.default_user)?;
        let (field, line) = ("kernel_command_line", &self.kernel_command_line);
        check_command_line(field, line)?;
        if !line.is_empty() && self.format != ImageFormat::KernelInitrd {
            let expected = "nothing, unless format is IMAGE_FORMAT_KERNEL_INITRD";
            return Err(Error::invalid(field, line, expected));
        }
        Ok(())
    }

    /// The image with this content, as it is registered now.
    pub fn into_image(self, files: Vec<ImageFile>, virtual_size_bytes: u64) -> Image {
        let now = Time::now();
        Image {
            id: ImageId::generate(),
            scope: self.scope,
            owner: self.owner,
            name: self.name,
            description: self.description,
            format: self.format,
            files,
            public: self.public,
            virtual_size_bytes,
            kernel_command_line: self.kernel_command_line,
            default_user: self.default_user,
            labels: self.labels,
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }
}

/// A name that a guest's user may have, as useradd(8) takes it; empty: nothing is said.
///
/// Errors: `InvalidArgument`.
pub fn check_default_user(field: &str, name: &str) -> Result<(), Error> {
    let first = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    let other = |byte: u8| first(&byte) || byte.is_ascii_digit() || byte == b'-';
    let good =
        name.len() <= 32 && name.as_bytes().first().is_none_or(first) && name.bytes().all(other);
    if good {
        return Ok(());
    }
    let expected =
        "a user's name: at most 32 of a-z, 0-9, '-' and '_', not beginning with a digit or '-'";
    Err(Error::invalid(field, name, expected))
}

/// What an update changes of an image; `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageChanges {
    pub common: Changes,
    pub public: Option<bool>,
    pub default_user: Option<String>,
}

impl ImageChanges {
    /// Errors: `InvalidArgument`.
    pub fn validate(&self) -> Result<(), Error> {
        self.common.validate()?;
        let name = self.default_user.as_deref().unwrap_or_default();
        check_default_user("default_user", name)
    }
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
    /// Whom its guests have for people to sign in as; empty: unknown.
    pub default_user: String,
    pub labels: Labels,
    pub created_at: Time,
    pub updated_at: Time,
    /// 1 at creation, then one more with each change.
    pub revision: u64,
}

impl Image {
    /// What it counts against its project's quota, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    pub fn file(&self, part: ImagePart) -> Option<&ImageFile> {
        self.files.iter().find(|file| file.part == part)
    }

    /// The image with validated changes: a revision newer, unless nothing has changed.
    ///
    /// Errors: `Conflict` when another revision was expected.
    pub fn with(&self, changes: ImageChanges) -> Result<Self, Error> {
        let ImageChanges {
            common,
            public,
            default_user,
        } = changes;
        if let Some(expected) = common.expected_revision
            && expected != self.revision
        {
            return Err(Error::Conflict {
                kind: kind::IMAGES.noun,
                id: self.name.clone(),
                expected,
                actual: self.revision,
            });
        }
        let mut after = self.clone();
        if let Some(name) = common.name {
            after.name = name;
        }
        if let Some(description) = common.description {
            after.description = description;
        }
        if let Some(labels) = common.labels {
            after.labels = labels;
        }
        if let Some(public) = public {
            after.public = public;
        }
        if let Some(default_user) = default_user {
            after.default_user = default_user;
        }
        if after != *self {
            after.updated_at = Time::now();
            after.revision += 1;
        }
        Ok(after)
    }
}
