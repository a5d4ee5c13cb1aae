//! A server in this process.

use std::net::{SocketAddr, TcpListener};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::cloud::{Place, Run};
use crate::expect::DEADLINE;

/// A server in this process, in a runtime of its own: a burst of calls at one server does not keep another from its turn,
/// and it can be killed like a process, whatever it was doing being dropped where it was. It starts again at the same
/// address; dropping it kills it.
pub struct Server {
    name: &'static str,
    address: SocketAddr,
    run: Run,
    /// Bound before its first start, so that others can be told of it.
    listener: Option<TcpListener>,
    running: Option<Running>,
}

struct Running {
    runtime: Runtime,
    shutdown: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// One that is not running yet, at a free port.
    pub(crate) fn new(name: &'static str, run: Run) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        Self {
            name,
            address: listener.local_addr().expect("a bound listener"),
            run,
            listener: Some(listener),
            running: None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, of a server without TLS.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A channel that connects when it is used, and again after the server was away.
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url())
            .expect("a socket address makes a URL")
            .connect_lazy()
    }

    /// Starts it. A call that comes before it serves waits in its listener.
    pub(crate) fn start(&mut self, place: Place) {
        let Self { name, address, .. } = *self;
        assert!(self.running.is_none(), "{name} is running");
        let listener = self.listener.take().unwrap_or_else(|| {
            TcpListener::bind(address)
                .unwrap_or_else(|error| panic!("{name} at {address}: {error}"))
        });
        listener.set_nonblocking(true).expect("a socket");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let (run, shutdown) = (self.run.clone(), CancellationToken::new());
        let stop = shutdown.clone();
        let served = runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let ended = run(place, listener, stop).await;
            if let Err(error) = &ended {
                // Whoever calls it hears only that it is not there.
                eprintln!("{name} ended: {error:#}");
            }
            ended
        });
        self.running = Some(Running {
            runtime,
            shutdown,
            served,
        });
    }

    /// Ends it as SIGTERM would, and waits for that.
    pub async fn stop(&mut self) {
        let name = self.name;
        let Some(running) = self.running.take() else {
            return;
        };
        running.shutdown.cancel();
        let ended = tokio::time::timeout(DEADLINE, running.served).await;
        let ended = ended.unwrap_or_else(|_| panic!("{name} does not stop"));
        ended
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        end(running.runtime).await;
    }

    /// Ends it as SIGKILL would: what is under way is dropped.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            end(running.runtime).await;
        }
    }
}

/// Waits until nothing of it holds anything open.
async fn end(runtime: Runtime) {
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DEADLINE))
        .await
        .expect("a runtime ends");
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown.cancel();
            running.runtime.shutdown_background();
        }
    }
}
