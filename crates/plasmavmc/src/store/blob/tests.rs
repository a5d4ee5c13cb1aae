use std::convert::Infallible;

use super::*;

async fn written(blobs: &Blobs, parts: &[&[u8]]) -> Written {
    let mut upload = blobs.create().await.unwrap();
    for part in parts {
        upload = upload.write(part.to_vec()).await.unwrap();
    }
    upload.finish().await.unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// SHA-256 of "hello world", as `sha256sum` gives it.
const HELLO: &str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";

#[tokio::test]
async fn a_file_gets_its_sum_as_name_and_only_when_it_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(directory.path()).await.unwrap();
    drop(written(&blobs, &[b"never kept"]).await);
    drop(blobs.create().await.unwrap());
    assert!(names(directory.path()).is_empty());
    for _ in 0..2 {
        let file = written(&blobs, &[b"hello", b" ", b"world"]).await;
        assert_eq!((file.sha256.as_str(), file.size), (HELLO, 11));
        assert_eq!(file.head, b"hello world");
        let held = blobs.hold().await;
        blobs.keep(file, &held).await.unwrap();
        assert_eq!(names(directory.path()), [HELLO]);
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(directory.path()).await.unwrap();
    fs::write(directory.path().join(HELLO), "hell").unwrap();
    let file = written(&blobs, &[b"hello world"]).await;
    blobs.keep(file, &blobs.hold().await).await.unwrap();
    assert_eq!(
        fs::read(directory.path().join(HELLO)).unwrap(),
        b"hello world"
    );
}

#[tokio::test]
async fn what_nothing_refers_to_is_collected_and_imports_under_way_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(directory.path()).await.unwrap();
    for content in [b"hello world".as_slice(), b"unused"] {
        let file = written(&blobs, &[content]).await;
        blobs.keep(file, &blobs.hold().await).await.unwrap();
    }
    let under_way = blobs.create().await.unwrap();
    let in_use = async || Ok::<_, Infallible>(HashSet::from([HELLO.to_owned()]));
    let Ok(removed) = blobs.collect(in_use).await;
    assert_eq!(removed.unwrap(), 1);
    assert_eq!(names(directory.path()).len(), 2);
    drop(under_way);
    assert_eq!(names(directory.path()), [HELLO]);
}

#[tokio::test]
async fn a_start_removes_what_a_crash_left() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".import-1"), "half").unwrap();
    fs::write(directory.path().join(HELLO), "hello world").unwrap();
    Blobs::open(directory.path()).await.unwrap();
    assert_eq!(names(directory.path()), [HELLO]);
}
