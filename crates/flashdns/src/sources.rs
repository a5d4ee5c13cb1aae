//! Follows PrismNET's subnets and ports and PlasmaVMC's VMs, each for as long as the server runs. A stream that ends is
//! opened again, and everything is told anew: meanwhile nothing is taken away.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use photon_api::plasmavmc::v1::WatchVmRequest;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::{WatchPortsRequest, WatchSubnetsRequest};
use photon_program::Identity;
use photon_reconcile::Backoff;
use photon_resource::Error;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::app::{Nodes, Table};
use crate::convert;
use crate::model::Changed;

/// Delays before a stream is opened again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// News that have come already and are taken in together.
const TOGETHER: usize = 1000;

/// The servers that names come from.
#[derive(Clone)]
pub struct Sources {
    /// PrismNET.
    pub network: Channel,
    /// PlasmaVMC.
    pub vms: Channel,
    /// Who asks.
    pub identity: Identity,
}

/// What a stream says; `None`: all that was there has been told.
type Told = Option<Changed>;

type Stream = BoxStream<'static, Result<Told, Status>>;

/// Follows for as long as it is polled.
pub async fn follow(sources: Sources, nodes: Nodes) {
    let others = [Table::Subnets, Table::Ports, Table::Vms];
    let each = others.map(|table| follow_table(&sources, table, &nodes));
    futures::future::join_all(each).await;
}

async fn follow_table(sources: &Sources, table: Table, nodes: &Nodes) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
    loop {
        let ended = follow_once(sources, table, nodes, &mut backoff).await;
        if ended.code() == Code::Unauthenticated {
            sources.identity.forget().await;
        }
        let delay = backoff.failed();
        tracing::warn!(
            ?table,
            code = ?ended.code(),
            reason = ended.message(),
            retry_in_ms = delay.as_millis(),
            "names are followed no more; what hosts were told stays"
        );
        tokio::time::sleep(delay).await;
    }
}

/// Until the stream ends; says why.
async fn follow_once(
    sources: &Sources,
    table: Table,
    nodes: &Nodes,
    backoff: &mut Backoff,
) -> Status {
    let stream = match sources.open(table).await {
        Ok(stream) => stream,
        Err(status) => return status,
    };
    nodes.change(|inventory| inventory.begin(table));
    // What has come together is taken in together: there are a hundred thousand ports, and each change is told.
    let mut stream = stream.ready_chunks(TOGETHER);
    while let Some(news) = stream.next().await {
        let mut failed = None;
        nodes.change(|inventory| {
            for told in news {
                match told {
                    Ok(Some(changed)) => inventory.apply(changed),
                    Ok(None) => inventory.end(table),
                    Err(status) => failed = Some(status),
                }
            }
        });
        match failed {
            Some(status) => return status,
            None => backoff.succeeded(),
        }
    }
    Status::unavailable("the other side ended the stream")
}

impl Sources {
    async fn open(&self, table: Table) -> Result<Stream, Status> {
        Ok(match table {
            Table::Subnets => {
                let request = self.request(WatchSubnetsRequest::default()).await?;
                let mut client = SubnetServiceClient::new(self.network.clone());
                let stream = client.watch_subnets(request).await?.into_inner();
                let told = |told: photon_api::prismnet::v1::WatchSubnetsResponse| match &told.subnet
                {
                    Some(subnet) => convert::subnet(subnet).map(Some),
                    None => gone(&told.deleted_id, |id| Changed::Subnet(id, None)),
                };
                stream.map(move |item| understood(item, told)).boxed()
            }
            Table::Ports => {
                let request = self.request(WatchPortsRequest::default()).await?;
                let mut client = PortServiceClient::new(self.network.clone());
                let stream = client.watch_ports(request).await?.into_inner();
                let told = |told: photon_api::prismnet::v1::WatchPortsResponse| match &told.port {
                    Some(port) => convert::port(port).map(Some),
                    None => gone(&told.deleted_id, |id| Changed::Port(id, None)),
                };
                stream.map(move |item| understood(item, told)).boxed()
            }
            // The store is this server's own.
            Table::Store => return Err(Status::internal("the store is nobody's stream")),
            Table::Vms => {
                let message = WatchVmRequest {
                    accepts_all_told: true,
                    ..Default::default()
                };
                let request = self.request(message).await?;
                let mut client = VmServiceClient::new(self.vms.clone());
                let stream = client.watch_vm(request).await?.into_inner();
                let told = |told: photon_api::plasmavmc::v1::WatchVmResponse| match &told.vm {
                    Some(vm) if told.deleted => gone(&vm.id, |id| Changed::Vm(id, None)),
                    Some(vm) => convert::vm(vm).map(Some),
                    None => Ok(None),
                };
                stream.map(move |item| understood(item, told)).boxed()
            }
        })
    }

    async fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let request = self.identity.request(message, "").await;
        request.map_err(|error| match error {
            Error::Unauthenticated(_) => Status::unauthenticated(error.to_string()),
            // IAM is away: the next attempt asks again.
            _ => Status::unavailable(error.to_string()),
        })
    }
}

/// Of a message about nothing: all has been told.
fn gone<I: std::str::FromStr<Err = Error>>(
    id: &str,
    changed: impl Fn(I) -> Changed,
) -> Result<Told, Error> {
    match id {
        "" => Ok(None),
        id => Ok(Some(changed(id.parse()?))),
    }
}

/// What is not understood ends the stream: who skipped it would keep what is gone.
fn understood<M>(
    item: Result<M, Status>,
    told: impl Fn(M) -> Result<Told, Error>,
) -> Result<Told, Status> {
    told(item?).map_err(|error| Status::internal(error.to_string()))
}
