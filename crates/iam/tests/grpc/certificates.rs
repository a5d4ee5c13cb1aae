//! Hosts' agents sign in with their host's certificate: real TLS, real certificates.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use photon_api::components::IAM;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use photon_program::{ClientCertificates, Endpoints, TlsFiles, Urls};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use tonic::transport::Channel;
use tonic::{Code, Status};

use photon_testkit::{Caller, Cloud, People, eventually, refused};

type Issuer = CertifiedIssuer<'static, KeyPair>;

const URI: &str = "photon://example/node/host-1";
const AGENT: &str = "prismnet-agent@host-1";

fn issuer() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What is in a certificate.
struct Made<'a> {
    uris: &'a [&'a str],
    usages: &'a [ExtendedKeyUsagePurpose],
    ends: SystemTime,
}

impl<'a> Made<'a> {
    fn with_uris(uris: &'a [&'a str]) -> Self {
        const BOTH: &[ExtendedKeyUsagePurpose] = &[
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Self {
            uris,
            usages: BOTH,
            ends: SystemTime::now() + Duration::from_secs(24 * 3600),
        }
    }

    fn write(&self, issuer: &Issuer, dir: &Path) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        for uri in self.uris {
            let uri = (*uri).try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.extended_key_usages = self.usages.to_vec();
        params.not_after = self.ends.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        let dir = tempfile::TempDir::new_in(dir).unwrap().keep();
        let (cert_file, key_file) = (dir.join("host.pem"), dir.join("host-key.pem"));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        (cert_file, key_file)
    }
}

/// IAM with TLS, for clients with certificates and without.
struct Secured {
    iam: Cloud,
    pki: tempfile::TempDir,
    issuer: Issuer,
}

impl Secured {
    async fn start(cluster: Option<&str>) -> Self {
        let (issuer, pki) = (issuer(), tempfile::tempdir().unwrap());
        let ca = pki.path().join("ca.pem");
        std::fs::write(&ca, issuer.pem()).unwrap();
        let (certificate, key) = Made::with_uris(&[]).write(&issuer, pki.path());
        let tls = TlsFiles {
            certificate,
            key,
            client_ca: Some(ca),
            client_certificates: ClientCertificates::Optional,
        };
        let cluster = cluster.map(str::to_owned);
        let part = photon_testcloud::iam::with("host-1", move |_, settings| {
            settings.server.tls = Some(tls.clone());
            settings.component.cluster = cluster.clone();
        });
        let mut iam = Cloud::start([part]).await;
        let port = iam.server("iam").address().port();
        let credentials = iam.place().credentials();
        iam.people = People::new(channel(pki.path(), port, None), credentials);
        Self { iam, pki, issuer }
    }

    /// A connection with a certificate of this authority; none: without one.
    fn connect(&self, made: Option<&Made<'_>>) -> Channel {
        self.connect_by(&self.issuer, made)
    }

    fn connect_by(&self, issuer: &Issuer, made: Option<&Made<'_>>) -> Channel {
        let dir = self.pki.path();
        let identity = made.map(|made| made.write(issuer, dir));
        channel(dir, self.iam.server("iam").address().port(), identity)
    }

    async fn events(&self, operator: &Caller) -> Vec<String> {
        let events = operator.events().await;
        let denied = events
            .into_iter()
            .filter(|event| event.action == "iam:tokens:create" && !event.reason.is_empty());
        denied.map(|event| event.reason).collect()
    }
}

fn channel(dir: &Path, port: u16, identity: Option<(PathBuf, PathBuf)>) -> Channel {
    let (certificate, key) = identity.unzip();
    let endpoints = Endpoints {
        urls: Urls::default().with(&IAM, format!("https://localhost:{port}")),
        ca: Some(dir.join("ca.pem")),
        certificate,
        key,
    };
    endpoints.channel(&IAM).unwrap()
}

async fn sign_in(channel: &Channel, principal: &str) -> Result<IssueTokenResponse, Status> {
    let request = IssueTokenRequest {
        principal_id: principal.into(),
        credential: Some(Credential::Certificate(ClientCertificate {})),
        ..Default::default()
    };
    let mut client = IamTokenServiceClient::new(channel.clone());
    Ok(client.issue_token(request).await?.into_inner())
}

#[tokio::test]
async fn a_hosts_agent_signs_in_with_its_hosts_certificate_until_it_is_deleted() {
    let secured = Secured::start(Some("example")).await;
    let operator = secured.iam.people.operator().await;
    let made = Made {
        ends: SystemTime::now() + Duration::from_secs(120),
        ..Made::with_uris(&[URI])
    };
    let channel = secured.connect(Some(&made));
    let issued = sign_in(&channel, AGENT).await.unwrap();
    let ends = SystemTime::try_from(issued.expires_at.unwrap()).unwrap();
    assert!(
        ends <= made.ends,
        "no token outlives what it was issued for"
    );
    let agent = operator.with_token(&issued.token);
    let who = agent.whoami().await.unwrap().principal.unwrap();
    assert_eq!((who.name.as_str(), who.node.as_str()), (AGENT, "host-1"));
    assert!(
        agent
            .allowed("network:nodes:watch", "system/nodes/host-1")
            .await
    );
    let events = operator.events().await;
    let last = events.iter().rfind(|it| it.principal_name == AGENT);
    assert_eq!(last.unwrap().action, "iam:tokens:create");

    let delete = DeletePrincipalRequest {
        id: issued.principal_id,
        ..Default::default()
    };
    operator.admin().delete_principal(delete).await.unwrap();
    refused(agent.whoami().await, Code::Unauthenticated);
    refused(sign_in(&channel, AGENT).await, Code::Unauthenticated);
}

#[tokio::test]
async fn what_a_certificate_is_refused_for_is_said_recorded_and_slowed() {
    let secured = Secured::start(Some("example")).await;
    let operator = secured.iam.people.operator().await;
    let disabled = CreatePrincipalRequest {
        name: "agent@host-3".into(),
        kind: PrincipalKind::Node as i32,
        node: "host-3".into(),
        ..Default::default()
    };
    let disabled = operator.admin().create_principal(disabled).await.unwrap();
    let disabled = disabled.into_inner().principal.unwrap();
    let update = UpdatePrincipalRequest {
        id: disabled.id.clone(),
        disabled: Some(true),
        ..Default::default()
    };
    operator.admin().update_principal(update).await.unwrap();

    let unnamed = "the client's certificate is of host 'host-1', but the system has no principal of kind NODE";
    let cases: &[(Option<&[&str]>, &str, &str)] = &[
        (Some(&[URI]), "nobody@host-1", unnamed),
        (Some(&[URI]), "operator", unnamed),
        (Some(&[URI]), "prismnet-server", unnamed),
        (
            Some(&["photon://example/node/host-2"]),
            AGENT,
            "the client's certificate is of host 'host-2', but 'prismnet-agent@host-1' is of host 'host-1'",
        ),
        (
            Some(&["photon://example/node/host-3"]),
            "agent@host-3",
            "'agent@host-3' is disabled",
        ),
        (
            Some(&["photon://elsewhere/node/host-1"]),
            AGENT,
            "the client's certificate is of cluster 'elsewhere': expected 'example'",
        ),
        (None, AGENT, "the client showed no certificate"),
        (Some(&[]), AGENT, "has 0 URIs among its alternative names"),
        (
            Some(&[URI, "photon://example/node/host-2"]),
            AGENT,
            "has 2 URIs among its alternative names",
        ),
        (
            Some(&["spiffe://example/node/host-1"]),
            AGENT,
            "the URI of the client's certificate is \"spiffe://example/node/host-1\"",
        ),
    ];
    for (uris, principal, expected) in cases {
        let made = uris.map(Made::with_uris);
        let channel = secured.connect(made.as_ref());
        let message = refused(sign_in(&channel, principal).await, Code::Unauthenticated);
        assert!(message.contains(expected), "{message}");
        let recorded = secured.events(&operator).await;
        let reason = message.strip_prefix("not authenticated: ").unwrap();
        assert_eq!(recorded.last().unwrap(), reason, "{recorded:?}");
    }
    let no_usage = Made {
        usages: &[],
        ..Made::with_uris(&[URI])
    };
    let channel = secured.connect(Some(&no_usage));
    let message = refused(sign_in(&channel, AGENT).await, Code::Unauthenticated);
    assert!(
        message.contains("not for client authentication"),
        "{message}"
    );

    // Five from this address had no certificate to speak of; the next one waits. Hosts with one don't.
    let message = refused(sign_in(&channel, AGENT).await, Code::ResourceExhausted);
    assert!(
        message.contains("too many failed attempts: try again in"),
        "{message}"
    );
    let channel = secured.connect(Some(&Made::with_uris(&["photon://example/node/host-4"])));
    refused(sign_in(&channel, AGENT).await, Code::Unauthenticated);
}

#[tokio::test]
async fn what_no_trusted_authority_signed_for_clients_ends_in_the_handshake() {
    let secured = Secured::start(None).await;
    let foreign = secured.connect_by(&issuer(), Some(&Made::with_uris(&[URI])));
    let expired = secured.connect(Some(&Made {
        ends: SystemTime::now() - Duration::from_secs(1),
        ..Made::with_uris(&[URI])
    }));
    let for_servers = secured.connect(Some(&Made {
        usages: &[ExtendedKeyUsagePurpose::ServerAuth],
        ..Made::with_uris(&[URI])
    }));
    for channel in [foreign, expired, for_servers] {
        let status = sign_in(&channel, AGENT).await.unwrap_err();
        assert_ne!(status.code(), Code::Unauthenticated, "{status}");
    }
    // Which cluster it is for is the authority's business, unless IAM is told.
    let elsewhere = Made::with_uris(&["photon://elsewhere/node/host-1"]);
    sign_in(&secured.connect(Some(&elsewhere)), AGENT)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_that_outlives_its_certificate_signs_nobody_in() {
    let secured = Secured::start(None).await;
    let made = Made {
        ends: SystemTime::now() + Duration::from_secs(5),
        ..Made::with_uris(&[URI])
    };
    let channel = secured.connect(Some(&made));
    sign_in(&channel, AGENT).await.unwrap();
    eventually("the certificate ends", || async {
        match sign_in(&channel, AGENT).await {
            Ok(_) => false,
            Err(status) => {
                let text =
                    "not authenticated: the client's certificate has expired: it must be renewed";
                assert_eq!(status.message(), text);
                true
            }
        }
    })
    .await;
}
