//! Imports of what a URL leads to: fetched in a sandbox (`photon_fetch`), and then as any other import.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use photon_fetch::{Download, FetchError};
use photon_resource::Error;
use photon_resource::disk_format;
use url::Url;

use super::{Images, Import};
use crate::model::{ImageFormat, ImagePart, NewImage};

/// How far a download is. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Fetched(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    total: AtomicU64,
}

impl Fetched {
    /// How many bytes have come.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// How many there are in all; 0: unknown.
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }
}

impl Images {
    /// The URL that a text is.
    ///
    /// Errors: `InvalidArgument`.
    pub fn url(text: &str) -> Result<Url, Error> {
        photon_fetch::check_url(text).map_err(refused)
    }

    /// Fetches a disk; what is left is to judge and register it. Its format is `format`, or what its content says.
    ///
    /// Errors: `InvalidArgument`, `ResourceExhausted`, `Unavailable`.
    pub async fn fetch(
        &self,
        url: &Url,
        new: NewImage,
        format: Option<ImageFormat>,
        fetched: &Fetched,
    ) -> Result<Box<Import>, Error> {
        let mut import = self.import(new)?;
        let mut download = self.fetcher.begin(url).await.map_err(refused)?;
        if let Some(total) = download.total() {
            import.expects(total)?;
            fetched.0.total.store(total, Ordering::Relaxed);
        }
        let mut beginning = beginning(&mut download).await?;
        import.is(format.unwrap_or(match disk_format::is_qcow2(&beginning) {
            true => ImageFormat::Qcow2,
            false => ImageFormat::Raw,
        }));
        while !beginning.is_empty() {
            let received = beginning.len() as u64;
            import.chunk(ImagePart::Disk, beginning).await?;
            fetched.0.received.fetch_add(received, Ordering::Relaxed);
            beginning = download.piece().await.map_err(refused)?.unwrap_or_default();
        }
        Ok(import)
    }
}

/// As many bytes as tell the format, or all that there are.
async fn beginning(download: &mut Download) -> Result<Vec<u8>, Error> {
    let mut beginning = Vec::new();
    while beginning.len() < disk_format::SECTOR {
        match download.piece().await.map_err(refused)? {
            Some(piece) => beginning.extend(piece),
            None => break,
        }
    }
    Ok(beginning)
}

/// What a tenant is told.
fn refused(error: FetchError) -> Error {
    match error {
        FetchError::Url { url, expected } => Error::invalid("url", url, expected),
        FetchError::Status { host, status } if (400..500).contains(&status) && status != 429 => {
            let expected =
                format!("a URL of a file that everybody may read ({host} answers {status})");
            Error::invalid("url", host, expected)
        }
        error @ FetchError::NoFetcher(_) => {
            tracing::warn!(%error, "a download was refused");
            Error::Unavailable(format!("{error}: try again"))
        }
        error => Error::Unavailable(error.to_string()),
    }
}
