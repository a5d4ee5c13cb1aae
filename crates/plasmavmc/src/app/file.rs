//! Files of images, as hosts read them.

use std::io::SeekFrom;

use photon_api::plasmavmc::v1;
use photon_resource::{Error, ImageId};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Desired;
use crate::convert;
use crate::store::blob::Blobs;

/// Bytes in each message.
const CHUNK: usize = 256 * 1024;

/// Gives files to hosts. Clones are the same.
#[derive(Clone)]
pub struct Files {
    blobs: Blobs,
    desired: Desired,
}

/// A file that is being read.
pub struct Reading(File);

impl Files {
    pub fn new(blobs: Blobs, desired: Desired) -> Self {
        Self { blobs, desired }
    }

    /// Opens a file for the host that the request names, which is the caller.
    ///
    /// Errors: `NotFound` unless a VM of that host starts from the image; `InvalidArgument`.
    pub async fn open(&self, request: &v1::FetchImageRequest) -> Result<Reading, Error> {
        let id: ImageId = request
            .image_id
            .parse()
            .map_err(|_| Error::invalid("image_id", &request.image_id, "the id of an image"))?;
        let part = convert::image_part("part", request.part)?;
        let (sha256, size) = self.desired.file(&request.node, id, part).await?;
        if request.offset > size {
            let expected = format!("at most the file's size of {size} bytes");
            return Err(Error::invalid("offset", request.offset, expected));
        }
        let mut file = self.blobs.read(&sha256).await.map_err(Error::internal)?;
        file.set_max_buf_size(CHUNK);
        file.seek(SeekFrom::Start(request.offset))
            .await
            .map_err(Error::internal)?;
        Ok(Reading(file))
    }
}

impl Reading {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut data = vec![0; CHUNK];
        let length = self.0.read(&mut data).await.map_err(Error::internal)?;
        data.truncate(length);
        Ok((length > 0).then_some(data))
    }
}
