//! Any set of servers in this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::people::People;
use crate::server::Server;

/// Who signs people in.
const IAM: &str = "iam";

/// Where a server runs: what is its own, and where the others are.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
    addresses: BTreeMap<&'static str, SocketAddr>,
}

impl Place {
    /// The directory of the whole cloud.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a server keeps its state.
    pub fn state_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where credentials are.
    pub fn credentials(&self) -> PathBuf {
        self.dir.join("credentials")
    }

    /// Where a server listens; panics if it is not of this cloud.
    pub fn address(&self, name: &str) -> SocketAddr {
        let address = self.addresses.get(name);
        *address.unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// The URL of a server without TLS; `None` if it is not of this cloud.
    pub fn url(&self, name: &str) -> Option<String> {
        let address = self.addresses.get(name)?;
        Some(format!("http://{address}"))
    }
}

pub(crate) type Run = Arc<
    dyn Fn(Place, TcpListener, CancellationToken) -> BoxFuture<'static, anyhow::Result<()>>
        + Send
        + Sync,
>;

/// A server of a cloud: its name, and what runs it.
pub struct Part {
    name: &'static str,
    prepare: Box<dyn FnOnce(&Place) + Send>,
    run: Run,
}

impl Part {
    /// `run` serves until it is told to stop; it is called at each start.
    pub fn new<F>(
        name: &'static str,
        run: impl Fn(Place, TcpListener, CancellationToken) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self {
            name,
            prepare: Box::new(|_| ()),
            run: Arc::new(move |place, listener, shutdown| {
                Box::pin(run(place, listener, shutdown))
            }),
        }
    }

    /// With something to be done before its first start.
    #[must_use]
    pub fn prepared(mut self, prepare: impl FnOnce(&Place) + Send + 'static) -> Self {
        self.prepare = Box::new(prepare);
        self
    }
}

/// Servers in this process with their state on disk, and whoever calls them.
pub struct Cloud {
    place: Place,
    servers: BTreeMap<&'static str, Server>,
    /// Whoever IAM signs in.
    pub people: People,
    // Last, so that it is removed after the servers were ended.
    _dir: TempDir,
}

impl Cloud {
    /// Starts the parts, in this order. One of them is IAM, under the name `iam`.
    pub async fn start(parts: impl IntoIterator<Item = Part>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (mut servers, mut order) = (BTreeMap::new(), Vec::new());
        let mut addresses = BTreeMap::new();
        for Part { name, prepare, run } in parts {
            let server = Server::new(name, run);
            addresses.insert(name, server.address());
            servers.insert(name, server);
            order.push((name, prepare));
        }
        let place = Place {
            dir: dir.path().to_owned(),
            addresses,
        };
        for (name, prepare) in order {
            prepare(&place);
            let server = servers.get_mut(name).expect("it was made above");
            server.start(place.clone());
        }
        let iam = servers.get(IAM).expect("one of the parts is IAM");
        let people = People::new(iam.channel(), place.credentials());
        Self {
            place,
            servers,
            people,
            _dir: dir,
        }
    }

    /// Where the servers run.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// One of them.
    pub fn server(&self, name: &str) -> &Server {
        let server = self.servers.get(name);
        server.unwrap_or_else(|| panic!("there is no {name}"))
    }

    fn server_mut(&mut self, name: &str) -> &mut Server {
        let server = self.servers.get_mut(name);
        server.unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// A channel to one of them that has no TLS.
    pub fn channel(&self, name: &str) -> Channel {
        self.server(name).channel()
    }

    /// Starts a server again where it was, on the same state.
    pub fn start_again(&mut self, name: &str) {
        let place = self.place.clone();
        self.server_mut(name).start(place);
    }

    /// Ends a server as SIGTERM would.
    pub async fn stop(&mut self, name: &str) {
        self.server_mut(name).stop().await;
    }

    /// Ends a server as SIGKILL would.
    pub async fn kill(&mut self, name: &str) {
        self.server_mut(name).kill().await;
    }

    /// Ends a server in order, and starts it again.
    pub async fn restart(&mut self, name: &str) {
        self.stop(name).await;
        self.start_again(name);
    }
}
