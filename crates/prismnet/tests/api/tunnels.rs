//! Where hosts are for each other: real TLS, real certificates.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use photon_api::components::PRISMNET;
use photon_api::prismnet::v1 as pb;
use photon_program::{ClientCertificates, Endpoints, TlsFiles, Urls};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::Channel;

use photon_testcloud::prismnet::{Client, with};
use photon_testkit::{Cloud, DEADLINE, new_id};

type Issuer = CertifiedIssuer<'static, KeyPair>;

const NAME: &str = prismnet::COMPONENT.name;

fn issuer() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A host's certificate and key.
fn certificate(issuer: &Issuer, dir: &Path, host: &str, addresses: &[&str]) -> (PathBuf, PathBuf) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let uri = format!("photon://example/node/{host}");
    let uri = SanType::URI(uri.as_str().try_into().unwrap());
    params.subject_alt_names.push(uri);
    for address in addresses {
        let address: IpAddr = address.parse().unwrap();
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let dir = tempfile::TempDir::new_in(dir).unwrap().keep();
    let files = (dir.join("host.pem"), dir.join("host-key.pem"));
    std::fs::write(&files.0, certificate.pem()).unwrap();
    std::fs::write(&files.1, key.serialize_pem()).unwrap();
    files
}

/// PrismNET with TLS, for clients with certificates and without.
struct Secured {
    cloud: Cloud,
    pki: tempfile::TempDir,
    issuer: Issuer,
}

impl Secured {
    async fn start() -> Self {
        let (issuer, pki) = (issuer(), tempfile::tempdir().unwrap());
        let ca = pki.path().join("ca.pem");
        std::fs::write(&ca, issuer.pem()).unwrap();
        let (certificate, key) = certificate(&issuer, pki.path(), "server", &[]);
        let tls = TlsFiles {
            certificate,
            key,
            client_ca: Some(ca),
            client_certificates: ClientCertificates::Optional,
        };
        let part = with(move |settings| settings.server.tls = Some(tls.clone()));
        let cloud = Cloud::start([photon_testcloud::iam::part("n1"), part]).await;
        Self { cloud, pki, issuer }
    }

    fn channel(&self, identity: Option<(PathBuf, PathBuf)>) -> Channel {
        let port = self.cloud.server(NAME).address().port();
        let (certificate, key) = identity.unzip();
        let endpoints = Endpoints {
            urls: Urls::default().with(&PRISMNET, format!("https://localhost:{port}")),
            ca: Some(self.pki.path().join("ca.pem")),
            certificate,
            key,
        };
        endpoints.channel(&PRISMNET).unwrap()
    }

    /// The agent of `node`, by a connection with a certificate of the host `of`.
    async fn agent(&self, node: &str, of: &str, addresses: &[&str]) -> Client {
        let files = certificate(&self.issuer, self.pki.path(), of, addresses);
        let agent = self.cloud.people.agent(node).await;
        Client::new(&agent.session, &self.channel(Some(files)))
    }
}

async fn watch(agent: &mut Client, node: &str) -> Streaming<pb::DesiredNetwork> {
    let request = pb::WatchDesiredRequest {
        node: node.into(),
        ..Default::default()
    };
    let stream = agent.nodes.watch_desired(request).await.unwrap();
    stream.into_inner()
}

async fn until(
    stream: &mut Streaming<pb::DesiredNetwork>,
    wanted: impl Fn(&pb::DesiredNetwork) -> bool,
) -> pb::DesiredNetwork {
    loop {
        let message = timeout(DEADLINE, stream.message()).await;
        let desired = message.expect("a message in time").unwrap().unwrap();
        if wanted(&desired) {
            return desired;
        }
    }
}

fn remote(desired: &pb::DesiredNetwork) -> Vec<(&str, &str)> {
    let subnets = desired.vpcs.iter().flat_map(|vpc| &vpc.subnets);
    let ports = subnets.flat_map(|subnet| &subnet.remote_ports);
    ports
        .map(|port| (port.id.as_str(), port.tunnel_address.as_str()))
        .collect()
}

#[tokio::test]
async fn hosts_hear_of_each_others_ports_at_the_addresses_in_their_certificates() {
    let secured = Secured::start().await;
    let member = secured.cloud.people.member("acme", "web", "ProjectMember");
    let member = member.await;
    let mut tenant = Client::new(&member.session, &secured.channel(None));
    let operator = secured.cloud.people.operator().await;
    tenant.devices = Client::new(&operator.session, &secured.channel(None)).devices;
    let (vpc, subnet) = tenant.network().await;
    tenant.subnet(&vpc, "back", "10.0.2.0/24").await;
    let near = tenant.port(&subnet, "near").await;
    let far = tenant.port(&subnet, "far").await;
    tenant.attach(&near, &new_id(), "n1").await.unwrap();
    tenant.attach(&far, &new_id(), "n2").await.unwrap();

    let mut first = secured.agent("n1", "n1", &["192.0.2.1"]).await;
    let mut stream = watch(&mut first, "n1").await;
    let desired = until(&mut stream, |_| true).await;
    assert_eq!(desired.tunnel_address.as_deref(), Some("192.0.2.1"));
    // Also that without a port here; nobody knows where the other host is.
    assert_eq!(desired.vpcs[0].subnets.len(), 2);
    assert_eq!(remote(&desired), []);

    // A certificate of another host says nothing of this one, nor does one without an address.
    for (of, addresses) in [("n3", &["192.0.2.3"][..]), ("n2", &["fd00::2"])] {
        let mut other = secured.agent("n2", of, addresses).await;
        let mut stream = watch(&mut other, "n2").await;
        let desired = until(&mut stream, |_| true).await;
        assert_eq!(desired.tunnel_address, None);
        assert_eq!(remote(&desired), []);
    }
    let mut second = secured.agent("n2", "n2", &["fd00::2", "192.0.2.2"]).await;
    let mut its = watch(&mut second, "n2").await;
    let desired = until(&mut its, |desired| desired.tunnel_address.is_some()).await;
    assert_eq!(remote(&desired), [(near.id.as_str(), "192.0.2.1")]);
    let desired = until(&mut stream, |desired| !remote(desired).is_empty()).await;
    assert_eq!(remote(&desired), [(far.id.as_str(), "192.0.2.2")]);

    // It comes back, which is no event; then with a new address; then another host has that.
    drop(its);
    drop(watch(&mut second, "n2").await);
    let mut moved = secured.agent("n2", "n2", &["192.0.2.22"]).await;
    drop(watch(&mut moved, "n2").await);
    let is_at = |address: &'static str| {
        move |desired: &pb::DesiredNetwork| remote(desired).iter().any(|(_, at)| *at == address)
    };
    until(&mut stream, is_at("192.0.2.22")).await;
    let mut heir = secured.agent("n4", "n4", &["192.0.2.22"]).await;
    drop(watch(&mut heir, "n4").await);
    until(&mut stream, |desired| remote(desired).is_empty()).await;

    let request = photon_api::chainfire::v1::ListEventsRequest {
        page_size: 1000,
        ..Default::default()
    };
    let mut events = Client::new(&operator.session, &secured.channel(None)).events;
    let events = events.list_events(request).await.unwrap().into_inner();
    let registered: Vec<&str> = events
        .events
        .iter()
        .filter(|event| event.action == "network:nodes:register")
        .map(|event| event.resource.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(registered, ["n1", "n2", "n2", "n4"]);
}
