//! A server in this process.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

type Run = Box<
    dyn Fn(
            TcpListener,
            CancellationToken,
        ) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>
        + Send
        + Sync,
>;

/// A server in this process. It can be stopped and started again at the same address; dropping it stops it.
pub struct TestServer {
    name: &'static str,
    address: SocketAddr,
    run: Run,
    running: Option<(CancellationToken, JoinHandle<anyhow::Result<()>>)>,
}

impl TestServer {
    /// A server that is not running yet. `run` is the `run` of its component, with its settings bound.
    pub(crate) fn new<F>(
        name: &'static str,
        address: SocketAddr,
        run: impl Fn(TcpListener, CancellationToken) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self {
            name,
            address,
            run: Box::new(move |listener, shutdown| Box::pin(run(listener, shutdown))),
            running: None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A channel that connects when it is used, and again after the server was away.
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url())
            .expect("a socket address makes a URL")
            .connect_lazy()
    }

    pub(crate) async fn serve(&mut self, listener: TcpListener) {
        assert!(self.running.is_none(), "{} is running", self.name);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn((self.run)(listener, shutdown.clone()));
        self.running = Some((shutdown, task));
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(why) = self.check().await {
            let (_, task) = self.running.as_mut().expect("set above");
            if task.is_finished() {
                panic!("{} did not start: {:?}", self.name, task.await);
            }
            assert!(
                Instant::now() < deadline,
                "{} is not ready: {why}",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn check(&self) -> Result<(), tonic::Status> {
        let request = HealthCheckRequest::default();
        HealthClient::new(self.channel())
            .check(request)
            .await
            .map(drop)
    }

    /// Stops it, as SIGTERM would, and waits for its end.
    pub async fn stop(&mut self) {
        if let Some((shutdown, task)) = self.running.take() {
            shutdown.cancel();
            let ended = task
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", self.name));
            ended.unwrap_or_else(|error| panic!("{}: {error:#}", self.name));
        }
    }

    /// Starts it again at the same address, after [`stop`](Self::stop).
    pub async fn start(&mut self) {
        let listener = TcpListener::bind(self.address)
            .await
            .unwrap_or_else(|error| panic!("{} at {}: {error}", self.name, self.address));
        self.serve(listener).await;
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some((shutdown, _)) = &self.running {
            shutdown.cancel();
        }
    }
}
