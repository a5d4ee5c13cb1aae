//! Images.

use std::collections::HashMap;

use photon_api::plasmavmc::v1 as pb;
use photon_catalog::wire::{changes, timestamp};
use photon_resource::{Error, PrincipalId, Scope};

use super::unknown;
use crate::model::{
    ExpectedFile, Image, ImageChanges, ImageFile, ImageFormat, ImagePart, NewImage,
};

/// What is announced of an image that will be in this scope.
///
/// Errors: `InvalidArgument`.
pub fn new_image(
    scope: Scope,
    owner: PrincipalId,
    header: pb::ImportImageHeader,
) -> Result<NewImage, Error> {
    let format = image_format("format", header.format)?;
    Ok(NewImage {
        scope,
        owner,
        name: header.name,
        description: header.description,
        labels: header.labels,
        format,
        public: header.public,
        kernel_command_line: header.kernel_command_line,
        default_user: header.default_user,
        expected: expected_files(format, &header.expected_files)?,
    })
}

fn expected_files(
    format: ImageFormat,
    files: &[pb::ImageFile],
) -> Result<HashMap<ImagePart, ExpectedFile>, Error> {
    let mut expected = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        let field = format!("expected_files[{index}]");
        let part = image_part(&format!("{field}.part"), file.part)?;
        let sha256 = file.sha256.to_ascii_lowercase();
        let is_sum = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_sum && !sha256.is_empty() {
            let field = format!("{field}.sha256");
            return Err(Error::invalid(field, &file.sha256, "64 hexadecimal digits"));
        }
        let said = ExpectedFile {
            sha256,
            size_bytes: file.size_bytes,
        };
        let twice = expected.insert(part, said).is_some();
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

/// What an update changes.
pub fn image_changes(request: pb::UpdateImageRequest) -> ImageChanges {
    ImageChanges {
        common: changes(
            request.name,
            request.description,
            request.labels.map(|labels| labels.labels),
            request.expected_revision,
        ),
        public: request.public,
        default_user: request.default_user,
    }
}

/// An import by URL, as one whose content its caller would send; the format as far as it is said.
///
/// Errors: `InvalidArgument`.
pub fn fetched_image(
    request: pb::ImportImageFromUrlRequest,
) -> Result<(pb::ImportImageHeader, Option<ImageFormat>), Error> {
    let format = match pb::ImageFormat::try_from(request.format) {
        Ok(pb::ImageFormat::Unspecified) => None,
        Ok(pb::ImageFormat::Raw) => Some(ImageFormat::Raw),
        Ok(pb::ImageFormat::Qcow2) => Some(ImageFormat::Qcow2),
        Ok(pb::ImageFormat::KernelInitrd) | Err(_) => {
            let expected = "IMAGE_FORMAT_RAW, IMAGE_FORMAT_QCOW2, or nothing";
            return Err(unknown("format", request.format, expected));
        }
    };
    if request.sha256.is_empty() {
        let expected = "the file's SHA-256 in 64 hexadecimal digits, as its distributor says it";
        return Err(Error::invalid("sha256", "", expected));
    }
    let header = pb::ImportImageHeader {
        org_id: request.org_id,
        project_id: request.project_id,
        name: request.name,
        description: request.description,
        // Until its first bytes are there.
        format: pb::ImageFormat::Raw.into(),
        public: request.public,
        kernel_command_line: String::new(),
        labels: request.labels,
        expected_files: vec![pb::ImageFile {
            part: pb::ImagePart::Disk.into(),
            sha256: request.sha256,
            size_bytes: 0,
        }],
        default_user: request.default_user,
        request_id: request.request_id,
    };
    Ok((header, format))
}

/// The format that a request names.
fn image_format(field: &str, value: i32) -> Result<ImageFormat, Error> {
    match pb::ImageFormat::try_from(value) {
        Ok(pb::ImageFormat::Raw) => Ok(ImageFormat::Raw),
        Ok(pb::ImageFormat::Qcow2) => Ok(ImageFormat::Qcow2),
        Ok(pb::ImageFormat::KernelInitrd) => Ok(ImageFormat::KernelInitrd),
        Ok(pb::ImageFormat::Unspecified) | Err(_) => Err(unknown(
            field,
            value,
            "IMAGE_FORMAT_RAW, IMAGE_FORMAT_QCOW2 and IMAGE_FORMAT_KERNEL_INITRD",
        )),
    }
}

/// The part that a request names.
pub fn image_part(field: &str, value: i32) -> Result<ImagePart, Error> {
    match pb::ImagePart::try_from(value) {
        Ok(pb::ImagePart::Disk) => Ok(ImagePart::Disk),
        Ok(pb::ImagePart::Kernel) => Ok(ImagePart::Kernel),
        Ok(pb::ImagePart::Initrd) => Ok(ImagePart::Initrd),
        Ok(pb::ImagePart::Unspecified) | Err(_) => Err(unknown(
            field,
            value,
            "IMAGE_PART_DISK, IMAGE_PART_KERNEL and IMAGE_PART_INITRD",
        )),
    }
}

fn file_to_wire(file: &ImageFile) -> pb::ImageFile {
    let part = match file.part {
        ImagePart::Disk => pb::ImagePart::Disk,
        ImagePart::Kernel => pb::ImagePart::Kernel,
        ImagePart::Initrd => pb::ImagePart::Initrd,
    };
    pb::ImageFile {
        part: part.into(),
        sha256: file.sha256.clone(),
        size_bytes: file.size_bytes,
    }
}

pub fn image_to_wire(image: &Image) -> pb::Image {
    let format = match image.format {
        ImageFormat::Raw => pb::ImageFormat::Raw,
        ImageFormat::Qcow2 => pb::ImageFormat::Qcow2,
        ImageFormat::KernelInitrd => pb::ImageFormat::KernelInitrd,
    };
    let (org, project) = (image.scope.org(), image.scope.project());
    pb::Image {
        id: image.id.to_string(),
        org_id: org.map(ToString::to_string).unwrap_or_default(),
        project_id: project.map(ToString::to_string).unwrap_or_default(),
        name: image.name.clone(),
        description: image.description.clone(),
        format: format.into(),
        files: image.files.iter().map(file_to_wire).collect(),
        public: image.public,
        virtual_size_bytes: image.virtual_size_bytes,
        kernel_command_line: image.kernel_command_line.clone(),
        labels: image.labels.clone(),
        created_at: Some(timestamp(image.created_at)),
        updated_at: Some(timestamp(image.updated_at)),
        revision: image.revision,
        default_user: image.default_user.clone(),
    }
}
