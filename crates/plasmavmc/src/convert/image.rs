//! Images.

use photon_api::plasmavmc::v1;
use photon_resource::Error;

use super::unknown;
use crate::model::{Image, ImageFile, ImageFormat, ImagePart};

/// The format that a request names.
pub fn image_format(field: &str, value: i32) -> Result<ImageFormat, Error> {
    match v1::ImageFormat::try_from(value) {
        Ok(v1::ImageFormat::Raw) => Ok(ImageFormat::Raw),
        Ok(v1::ImageFormat::Qcow2) => Ok(ImageFormat::Qcow2),
        Ok(v1::ImageFormat::KernelInitrd) => Ok(ImageFormat::KernelInitrd),
        Ok(v1::ImageFormat::Unspecified) | Err(_) => Err(unknown(
            field,
            value,
            "IMAGE_FORMAT_RAW, IMAGE_FORMAT_QCOW2 and IMAGE_FORMAT_KERNEL_INITRD",
        )),
    }
}

/// The part that a request names.
pub fn image_part(field: &str, value: i32) -> Result<ImagePart, Error> {
    match v1::ImagePart::try_from(value) {
        Ok(v1::ImagePart::Disk) => Ok(ImagePart::Disk),
        Ok(v1::ImagePart::Kernel) => Ok(ImagePart::Kernel),
        Ok(v1::ImagePart::Initrd) => Ok(ImagePart::Initrd),
        Ok(v1::ImagePart::Unspecified) | Err(_) => Err(unknown(
            field,
            value,
            "IMAGE_PART_DISK, IMAGE_PART_KERNEL and IMAGE_PART_INITRD",
        )),
    }
}

fn file_to_wire(file: &ImageFile) -> v1::ImageFile {
    let part = match file.part {
        ImagePart::Disk => v1::ImagePart::Disk,
        ImagePart::Kernel => v1::ImagePart::Kernel,
        ImagePart::Initrd => v1::ImagePart::Initrd,
    };
    v1::ImageFile {
        part: part.into(),
        sha256: file.sha256.clone(),
        size_bytes: file.size_bytes,
    }
}

pub fn image_to_wire(image: &Image) -> v1::Image {
    let format = match image.format {
        ImageFormat::Raw => v1::ImageFormat::Raw,
        ImageFormat::Qcow2 => v1::ImageFormat::Qcow2,
        ImageFormat::KernelInitrd => v1::ImageFormat::KernelInitrd,
    };
    let (org, project) = (image.scope.org(), image.scope.project());
    v1::Image {
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
        created_at: Some(image.created_at.into()),
        updated_at: Some(image.updated_at.into()),
        revision: image.revision,
    }
}
