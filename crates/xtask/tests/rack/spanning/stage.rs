//! node01 and node02 of the example cluster as evaluation renders them: node01 has the control plane, both run guests.
//! node02 gets its certificate by hand; how a machine really gets one is `netboot`'s.

use std::sync::Arc;

use photon_api::components::{IAM, PLASMAVMC, PRISMNET};
use photon_api::iam::v1::{CreateBindingRequest, CreatePrincipalRequest, PrincipalKind};
use photon_e2e::Session;
use tokio::time::Instant;
use xtask::photoncloud::appliance;
use xtask::photoncloud::programs::Programs;
use xtask::rack::{Host, Rack};

use crate::cloud::{BOOT, Cloud};

const PKI: &str = "/var/lib/photoncloud/pki";
const SERVERS: &str =
    "photon-pki photon-bootstrap iam-server prismnet-server plasmavmc-server flashdns-server";
pub const AGENTS: &str = "prismnet-agent plasmavmc-agent flashdns-agent";

/// Both hosts, with agents that are known to the servers.
pub async fn start() -> Cloud {
    let programs = tokio::task::spawn_blocking(Programs::ensure);
    let (rack, programs) = tokio::join!(Rack::start(2), programs);
    let (rack, programs) = (Arc::new(rack.unwrap()), programs.unwrap().unwrap());
    let (first, second) = (rack.host(1), rack.host(2));
    for (host, name) in [(&first, "node01"), (&second, "node02")] {
        appliance::install(host, &programs, name).await.unwrap();
    }
    first
        .check(&format!("systemctl start {SERVERS}"))
        .await
        .unwrap();
    forward(&first).await;
    certify(&first, &second).await;
    first
        .check(&format!("systemctl start {AGENTS} plasmavmc-metadata"))
        .await
        .unwrap();
    let cloud = Cloud::reached(rack, first).await;
    for agent in AGENTS.split(' ') {
        make_agent(&cloud.operator, &format!("{agent}@node02"), "node02").await;
    }
    second
        .check(&format!("systemctl start {AGENTS} plasmavmc-metadata"))
        .await
        .unwrap();
    wait_for_hosts(&cloud, 2).await;
    cloud
}

/// The rack reaches a host's loopback, and the servers are on its underlay, by TLS alone.
async fn forward(host: &Host) {
    for port in [&IAM, &PRISMNET, &PLASMAVMC].map(|component| component.port) {
        let to = format!("OPENSSL:{}:{port},verify=0", host.address());
        host.check(&format!(
            "systemd-run -q --unit=front-{port} socat TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,nodelay {to} && \
             until ss -Hltn src 127.0.0.1 sport = :{port} | grep -q .; do sleep 0.05; done"
        ))
        .await
        .unwrap();
    }
}

/// What node01's authority says of a host that has enrolled (`crates/provisioner/src/authority.rs`).
async fn certify(authority: &Host, host: &Host) {
    let request = host
        .check(&format!(
            "set -e; install -d -m 700 {PKI}; cd {PKI}; \
             openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=node02 \
               -keyout host-key.pem 2>/dev/null"
        ))
        .await
        .unwrap();
    let names = format!(
        "subjectAltName=DNS:node02,DNS:node02.example.internal,IP:{},URI:photon://example/node/node02\n\
         extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n",
        host.address()
    );
    let sign = format!(
        "set -e; cd $(mktemp -d); printf %s {} > request; printf %s {} > names; \
         openssl x509 -req -days 30 -in request -extfile names -CA {PKI}/ca.pem \
           -CAkey /var/lib/photoncloud/ca/ca-key.pem 2>/dev/null",
        photon_e2e::guest::quote(&request),
        photon_e2e::guest::quote(&names)
    );
    let certificate = authority.check(&sign).await.unwrap();
    let ca = authority.check(&format!("cat {PKI}/ca.pem")).await.unwrap();
    for (file, text) in [("host.pem", certificate), ("ca.pem", ca)] {
        let text = photon_e2e::guest::quote(&text);
        let put = format!("printf %s {text} > {PKI}/{file}");
        host.check(&put).await.unwrap();
    }
}

/// As the provisioner makes it of a host that has enrolled.
async fn make_agent(operator: &Session, name: &str, node: &str) {
    let request = CreatePrincipalRequest {
        name: name.into(),
        kind: PrincipalKind::Node.into(),
        node: node.into(),
        ..Default::default()
    };
    let made = operator.call(request).await.unwrap().principal.unwrap();
    let request = CreateBindingRequest {
        principal_id: made.id,
        role_id: "NodeAgent".into(),
        scope: "system".into(),
        ..Default::default()
    };
    operator.call(request).await.unwrap();
}

async fn wait_for_hosts(cloud: &Cloud, hosts: usize) {
    let deadline = Instant::now() + BOOT;
    loop {
        let ready = cloud.operator.ready_hosts().await.unwrap();
        if ready.len() == hosts {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "of {hosts} hosts {ready:?} are ready"
        );
        tokio::time::sleep(crate::SECOND / 2).await;
    }
}
