//! Downloads in tests: a web server with files, and what PlasmaVMC has fetch them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// Does for the server what systemd does by `photon-fetch.socket`; the downloads are in this process.
pub(crate) fn fetch_at(socket: &Path) {
    // Of the server's run before.
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).expect("a socket in the test's directory");
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(photon_fetch::serve(connection));
        }
    });
}

/// A web server on loopback. Clones are the same.
#[derive(Clone)]
pub struct Web {
    address: SocketAddr,
    files: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

impl Web {
    /// One without files. It answers while the test runs.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let web = Self {
            address: listener.local_addr().expect("the port that was bound"),
            files: Arc::default(),
        };
        let serving = web.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let web = serving.clone();
                tokio::spawn(async move { web.answer(connection).await });
            }
        });
        web
    }

    /// Its URL of a path that begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a file there; its URL.
    pub fn put(&self, path: &str, content: &[u8]) -> String {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(path.to_owned(), content.to_vec());
        self.url(path)
    }

    async fn answer(&self, mut connection: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let path = head.split(' ').nth(1)?;
        let found = {
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.get(path).cloned()
        };
        let (status, content) = match found {
            Some(content) => ("200 OK", content),
            None => ("404 Not Found", Vec::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            content.len()
        );
        connection.write_all(head.as_bytes()).await.ok()?;
        connection.write_all(&content).await.ok()?;
        connection.shutdown().await.ok()
    }
}
