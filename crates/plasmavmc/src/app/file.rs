//! Files of images, as hosts read them.

use std::io::SeekFrom;

use photon_resource::{Error, ImageId};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Desired;
use crate::model::ImagePart;
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

    /// Opens a file of an image for a host, from `offset` on, in bytes.
    ///
    /// Errors: `NotFound` unless a VM of that host starts from the image; `InvalidArgument`.
    pub async fn open(
        &self,
        node: &str,
        id: ImageId,
        part: ImagePart,
        offset: u64,
    ) -> Result<Reading, Error> {
        let (sha256, size) = self.desired.file(node, id, part).await?;
        if offset > size {
            let expected = format!("at most the file's size of {size} bytes");
            return Err(Error::invalid("offset", offset, expected));
        }
        let mut file = self.blobs.read(&sha256).await.map_err(Error::internal)?;
        file.set_max_buf_size(CHUNK);
        file.seek(SeekFrom::Start(offset))
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
