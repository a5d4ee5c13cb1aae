use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;

/// A registry whose connection breaks after `breaks_after` bytes, every time.
struct Broken {
    content: Vec<u8>,
    breaks_after: usize,
    calls: AtomicU64,
}

#[async_trait]
impl Registry for Broken {
    async fn fetch(&self, _file: &ImageFile, offset: u64) -> Result<Pieces, FetchError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let rest = &self.content[usize::try_from(offset).unwrap()..];
        let piece = rest[..rest.len().min(self.breaks_after)].to_vec();
        Ok(futures::stream::iter([Ok(piece)]).boxed())
    }
}

struct Fixture {
    _directory: tempfile::TempDir,
    images: Images,
    registry: Arc<Broken>,
    file: ImageFile,
}

fn fixture(content: &[u8], breaks_after: usize) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout {
        state: directory.path().to_owned(),
        run: directory.path().join("run"),
        userdb: directory.path().join("userdb"),
    };
    std::fs::create_dir(layout.images()).unwrap();
    let registry = Arc::new(Broken {
        content: content.to_vec(),
        breaks_after,
        calls: AtomicU64::new(0),
    });
    let file = ImageFile {
        sha256: hex::encode(Sha256::digest(content)).parse().unwrap(),
        size_bytes: content.len() as u64,
        source: ImageSource::Registry {
            image: photon_resource::ImageId::generate(),
            part: crate::plan::desired::Part::Disk,
        },
    };
    Fixture {
        images: Images::new(layout, registry.clone(), Signal::new()),
        _directory: directory,
        registry,
        file,
    }
}

#[tokio::test]
async fn a_broken_fetch_goes_on_where_it_ended() {
    let content: Vec<u8> = (0..1000_u32).flat_map(u32::to_le_bytes).collect();
    let it = fixture(&content, 1500);
    for _ in 0..2 {
        let error = it.images.fetch(&it.file).await.unwrap_err().to_string();
        assert!(error.contains("of 4000 bytes"), "{error}");
        assert!(!it.images.has(&it.file.sha256));
    }
    it.images.fetch(&it.file).await.unwrap();
    assert!(it.images.has(&it.file.sha256));
    assert_eq!(it.registry.calls.load(Ordering::Relaxed), 3);
    it.images.fetch(&it.file).await.unwrap();
    assert_eq!(it.registry.calls.load(Ordering::Relaxed), 3, "it is there");
}

#[tokio::test]
async fn a_part_that_is_complete_is_kept_without_asking() {
    let it = fixture(b"content", 100);
    let part = it.images.layout.image_part(&it.file.sha256);
    std::fs::write(part, b"content").unwrap();
    it.images.fetch(&it.file).await.unwrap();
    assert!(it.images.has(&it.file.sha256));
    assert_eq!(it.registry.calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn wrong_content_is_never_kept() {
    let mut it = fixture(b"what the registry sends", 1000);
    it.file.sha256 = hex::encode(Sha256::digest(b"what was announced......"))
        .parse()
        .unwrap();
    let error = it.images.fetch(&it.file).await.unwrap_err().to_string();
    assert!(error.contains("SHA-256"), "{error}");
    it.file.size_bytes = 3;
    let error = it.images.fetch(&it.file).await.unwrap_err().to_string();
    assert!(error.contains("longer"), "{error}");
    let left = std::fs::read_dir(it.images.layout.images()).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn the_end_of_a_fetch_is_told_and_its_failure_once() {
    let it = fixture(b"content", 2);
    it.images.start(&it.file);
    let told = async {
        while !it.images.fetching().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .unwrap();
    assert!(it.images.take_failures().contains_key(&it.file.sha256));
    assert!(it.images.take_failures().is_empty());
}

#[tokio::test]
async fn sweeping_keeps_what_is_wanted() {
    let it = fixture(b"content", 100);
    it.images.fetch(&it.file).await.unwrap();
    let (wanted, none) = ([it.file.sha256.clone()].into(), BTreeSet::new());
    it.images.sweep(&wanted, Duration::ZERO);
    it.images.sweep(&none, Duration::from_secs(60));
    assert!(it.images.has(&it.file.sha256), "wanted, or too young");
    it.images.sweep(&none, Duration::ZERO);
    assert!(!it.images.has(&it.file.sha256));
}
