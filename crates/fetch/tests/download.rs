//! Downloads from servers that misbehave, by the program's own code behind a socket as systemd's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use photon_fetch::{FetchError, Fetcher, Reach, check_url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// What a server says to a request (its head, whole), and then it hangs up.
type Says = Arc<dyn Fn(usize, &str) -> Vec<u8> + Send + Sync>;

struct Stage {
    server: SocketAddr,
    fetcher: Fetcher,
    asked: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn new(says: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::reaching(Reach::with(["127.0.0.0/8".parse().unwrap()]), says).await
    }

    async fn reaching(
        reach: Reach,
        says: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(photon_fetch::serve(connection));
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, says): (_, Says) = (asked.clone(), Arc::new(says));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let turn = count.fetch_add(1, Ordering::SeqCst);
                answer(connection, turn, &says).await;
            }
        });
        Self {
            server,
            fetcher: Fetcher::new(socket, reach),
            asked,
            _dir: dir,
        }
    }

    fn url(&self, path: &str) -> url::Url {
        check_url(&format!("http://{}{path}", self.server)).unwrap()
    }

    async fn fetch(&self, path: &str) -> Result<Vec<u8>, FetchError> {
        let mut download = self.fetcher.begin(&self.url(path)).await?;
        let mut all = Vec::new();
        while let Some(piece) = download.piece().await? {
            all.extend(piece);
        }
        Ok(all)
    }
}

async fn answer(mut connection: TcpStream, turn: usize, says: &Says) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = connection.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let answer = says(turn, &String::from_utf8_lossy(&head).to_lowercase());
    let _ = connection.write_all(&answer).await;
    let _ = connection.shutdown().await;
}

fn content() -> Vec<u8> {
    (0..1_000_000_u32).map(|at| (at % 251) as u8).collect()
}

fn whole(status: &str, more: &str, content: &[u8], shown: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{more}\r\n",
        content.len()
    );
    [head.as_bytes(), &content[..shown]].concat()
}

#[tokio::test]
async fn gets_all_of_it() {
    let stage = Stage::new(|_, head| {
        assert!(head.starts_with("get /disk?x=1 http/1.1\r\n"), "{head}");
        assert!(!head.contains("range:"), "{head}");
        whole("200 OK", "", &content(), 1_000_000)
    })
    .await;
    assert!(stage.fetch("/disk?x=1").await.unwrap() == content());
    let begun = stage.fetcher.begin(&stage.url("/disk?x=1")).await.unwrap();
    assert_eq!(begun.total(), Some(1_000_000));
}

#[tokio::test]
async fn goes_on_where_a_connection_broke() {
    let stage = Stage::new(|turn, head| {
        if turn == 0 {
            return whole("200 OK", "ETag: \"one\"\r\n", &content(), 400_000);
        }
        assert!(head.contains("if-range: \"one\"\r\n"), "{head}");
        let from = head.split_once("range: bytes=").unwrap().1;
        let from: usize = from.split_once('-').unwrap().0.parse().unwrap();
        assert!((1..=400_000).contains(&from), "{from}");
        let more = format!("Content-Range: bytes {from}-999999/1000000\r\n");
        let rest = &content()[from..];
        whole("206 Partial Content", &more, rest, rest.len())
    })
    .await;
    assert!(stage.fetch("/disk").await.unwrap() == content());
    assert_eq!(stage.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_anew() {
    let stage = Stage::new(|turn, _| {
        let shown = if turn == 0 { 400_000 } else { 1_000_000 };
        whole("200 OK", "", &content(), shown)
    })
    .await;
    assert!(stage.fetch("/disk").await.unwrap() == content());
}

#[tokio::test]
async fn another_content_is_not_put_behind_the_first() {
    let stage = Stage::new(|turn, _| {
        let content = vec![7; if turn == 0 { 1_000_000 } else { 999_999 }];
        let shown = if turn == 0 { 400_000 } else { content.len() };
        whole("200 OK", "", &content, shown)
    })
    .await;
    let refused = stage.fetch("/disk").await.unwrap_err();
    assert!(matches!(refused, FetchError::Changed(_)), "{refused}");
}

#[tokio::test]
async fn follows_a_few_redirections() {
    let stage = Stage::new(|_, head| {
        let path = head.split(' ').nth(1).unwrap();
        match path.trim_start_matches('/').parse::<u32>() {
            Ok(0) => whole("200 OK", "", b"there", 5),
            Ok(more) => {
                let location = format!("Location: /{}\r\n", more - 1);
                whole("302 Found", &location, b"", 0)
            }
            Err(_) => whole("404 Not Found", "", b"no", 2),
        }
    })
    .await;
    assert_eq!(stage.fetch("/5").await.unwrap(), b"there");
    let refused = stage.fetch("/6").await.unwrap_err();
    assert!(refused.to_string().contains("5 redirections"), "{refused}");
    let refused = stage.fetch("/other").await.unwrap_err();
    assert!(
        matches!(refused, FetchError::Status { status: 404, .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_redirection_leads_no_further_than_a_url_does() {
    let stage = Stage::new(|_, head| {
        let to = head.split(' ').nth(1).unwrap().trim_start_matches("/to/");
        whole("302 Found", &format!("Location: {to}\r\n"), b"", 0)
    })
    .await;
    for (to, named) in [
        ("http://169.254.169.254/latest/", "169.254.169.254"),
        ("http://10.0.0.1:8089/", "10.0.0.1"),
        ("http://[::1]/", "::1"),
        ("http://0x7f.1:22/", "port 80"),
        ("file:///etc/passwd", "https://"),
        ("http://a:b@example.org/", "without a user's name"),
    ] {
        let refused = stage.fetch(&format!("/to/{to}")).await.unwrap_err();
        assert!(matches!(refused, FetchError::Url { .. }), "{to}: {refused}");
        assert!(refused.to_string().contains(named), "{to}: {refused}");
    }
}

#[tokio::test]
async fn the_host_itself_is_out_of_reach() {
    let stage = Stage::reaching(Reach::default(), |_, _| unreachable!("nobody may ask")).await;
    let port = stage.server.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = check_url(&format!("http://{host}:{port}/")).unwrap();
        let refused = stage.fetcher.begin(&url).await.unwrap_err();
        assert!(
            matches!(refused, FetchError::Url { .. }),
            "{host}: {refused}"
        );
    }
    assert_eq!(stage.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn urls_are_judged_before_anything_is_asked() {
    for (url, expected) in [
        ("", "https://HOST/PATH"),
        ("debian-13.qcow2", "https://HOST/PATH"),
        ("ftp://example.org/x", "https:// or http://"),
        ("https://me:secret@example.org/x", "without a user's name"),
        ("https://example.org:25/", "port 80, 443"),
        (
            &format!("https://example.org/{}", "x".repeat(2048)),
            "2048 bytes",
        ),
    ] {
        let refused = check_url(url).unwrap_err().to_string();
        assert!(refused.contains(expected), "{url}: {refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
    check_url("https://example.org/images/debian-13.qcow2?version=1").unwrap();
}
