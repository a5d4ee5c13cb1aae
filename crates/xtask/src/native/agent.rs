//! A scripted agent: it says that its host is there and follows what it should have, as a real one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use photon_api::iam::v1::IssueTokenRequest;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::{HypervisorKind, Node, RegisterNodeRequest, WatchDesiredRequest};
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

use super::servers::{NODE, Servers, urls};

const HEARTBEAT: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(30);

/// What the agent was told, and when.
#[derive(Default)]
struct Heard {
    /// By name of the VM: the first time.
    told: HashMap<String, Instant>,
    /// Size of the last message in bytes.
    bytes: usize,
}

/// A host that exists on paper: it says that it is there, and follows what it should have; nothing is started.
pub struct Agent {
    heard: Arc<Mutex<Heard>>,
    news: watch::Receiver<u64>,
    _tasks: JoinSet<()>,
}

impl Agent {
    /// Signs in, registers the host, and follows what should be on it.
    ///
    /// # Errors
    /// When a server refuses.
    pub async fn start(servers: &Servers) -> Result<Self> {
        let [iam, _, plasmavmc] = urls();
        let key = servers.credential("plasmavmc-agent.key")?;
        let answer = IamTokenServiceClient::connect(iam)
            .await?
            .issue_token(IssueTokenRequest {
                principal_id: format!("plasmavmc-agent@{NODE}"),
                credential: Some(Credential::ApiKey(key)),
                ..Default::default()
            })
            .await
            .context("the agent cannot sign in")?;
        let bearer = format!("Bearer {}", answer.into_inner().token);
        let channel = Channel::from_shared(plasmavmc)?.connect().await?;
        let mut client = NodeServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let request = |bearer: &str| -> Result<tonic::metadata::MetadataValue<_>> {
            bearer.parse().context("the token is not ASCII")
        };
        let bearer = request(&bearer)?;
        let node = Node {
            name: NODE.into(),
            vcpus: 4096,
            memory_mib: 4 << 20,
            accelerator: "tcg".into(),
            hypervisors: vec![HypervisorKind::Qemu.into()],
            ..Default::default()
        };
        let mut register = Request::new(RegisterNodeRequest {
            node: Some(node.clone()),
        });
        register
            .metadata_mut()
            .insert("authorization", bearer.clone());
        client.register_node(register).await?;
        let mut watching = Request::new(WatchDesiredRequest {
            node: NODE.into(),
            // Servers of before there were changes skip this, and tell everything each time.
            accepts_changes: true,
        });
        watching
            .metadata_mut()
            .insert("authorization", bearer.clone());
        let mut stream = client.watch_desired(watching).await?.into_inner();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (told, news) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let hearing = Arc::clone(&heard);
        tasks.spawn(async move {
            while let Ok(Some(message)) = stream.message().await {
                let now = Instant::now();
                {
                    let mut heard = hearing.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.bytes = message.encoded_len();
                    for vm in message.vms {
                        heard.told.entry(vm.name).or_insert(now);
                    }
                }
                told.send_modify(|count| *count += 1);
            }
        });
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                let mut request = Request::new(RegisterNodeRequest {
                    node: Some(node.clone()),
                });
                request
                    .metadata_mut()
                    .insert("authorization", bearer.clone());
                // What is wrong with the server shows in what is measured.
                let _ = client.register_node(request).await;
            }
        });
        Ok(Self {
            heard,
            news,
            _tasks: tasks,
        })
    }

    /// When the agent was told of a VM, and how long the last message was.
    pub async fn told(&mut self, name: &str) -> Result<(Instant, usize)> {
        let heard = Arc::clone(&self.heard);
        let find = |_: &u64| {
            let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.told.contains_key(name)
        };
        let waited = tokio::time::timeout(LIMIT, self.news.wait_for(find)).await;
        waited.with_context(|| format!("the agent was not told of {name}"))??;
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((heard.told[name], heard.bytes))
    }
}
