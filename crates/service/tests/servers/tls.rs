use std::path::{Path, PathBuf};

use photon_api::chainfire::v1::ListEventsRequest;
use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::components::IAM;
use photon_program::{ClientCertificates, Endpoints, ServerSettings, TlsFiles, Urls};
use photon_service::serve;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::desk::{DESK, Desk, Running, bearing, run, settings};

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub ca: PathBuf,
}

pub fn authority(dir: &Path, name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let ca = dir.join(format!("{name}.pem"));
    std::fs::write(&ca, issuer.pem()).unwrap();
    Authority { issuer, ca }
}

impl Authority {
    /// A certificate for `name` with its key.
    pub fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str, text: String| {
            let path = self.ca.with_file_name(format!("{name}-{kind}.pem"));
            std::fs::write(&path, text).unwrap();
            path
        };
        (
            file("cert", certificate.pem()),
            file("key", key.serialize_pem()),
        )
    }
}

pub fn tls_settings(
    authority: &Authority,
    client_ca: Option<&Authority>,
    client_certificates: ClientCertificates,
) -> ServerSettings {
    let (certificate, key) = authority.issue("localhost");
    ServerSettings {
        tls: Some(TlsFiles {
            certificate,
            key,
            client_ca: client_ca.map(|it| it.ca.clone()),
            client_certificates,
        }),
        ..settings()
    }
}

/// How a call by these endpoints ends.
async fn call(running: &Running, scheme: &str, mut endpoints: Endpoints) -> Result<(), Code> {
    let url = format!("{scheme}://localhost:{}", running.address.port());
    endpoints.urls = endpoints.urls.with(&IAM, url);
    let channel = endpoints.channel(&IAM).unwrap();
    let request = bearing("acme", ListEventsRequest::default());
    let mut client = EventServiceClient::new(channel);
    client
        .list_events(request)
        .await
        .map(drop)
        .map_err(|status| status.code())
}

#[tokio::test]
async fn a_listener_with_tls_speaks_only_tls_to_those_who_trust_it() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority(dir.path(), "ours");
    let others = authority(dir.path(), "others");
    let running = run(
        tls_settings(&ours, None, ClientCertificates::Required),
        Desk::new().services(),
    )
    .await;
    let trusting = |authority: &Authority| Endpoints {
        ca: Some(authority.ca.clone()),
        ..Endpoints::default()
    };
    assert_eq!(call(&running, "https", trusting(&ours)).await, Ok(()));
    assert_eq!(
        call(&running, "https", trusting(&others)).await,
        Err(Code::Unavailable)
    );
    assert_eq!(
        call(&running, "https", Endpoints::default()).await,
        Err(Code::Unavailable)
    );
    assert_ne!(call(&running, "http", Endpoints::default()).await, Ok(()));
}

#[tokio::test]
async fn with_a_client_authority_only_its_certificates_get_in() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority(dir.path(), "ours");
    let others = authority(dir.path(), "others");
    let settings = tls_settings(&ours, Some(&ours), ClientCertificates::Required);
    let running = run(settings, Desk::new().services()).await;
    let showing = |identity: Option<(PathBuf, PathBuf)>| {
        let (certificate, key) = identity.unzip();
        Endpoints {
            ca: Some(ours.ca.clone()),
            certificate,
            key,
            ..Endpoints::default()
        }
    };
    assert_ne!(call(&running, "https", showing(None)).await, Ok(()));
    assert_ne!(
        call(&running, "https", showing(Some(others.issue("agent")))).await,
        Ok(())
    );
    assert_eq!(
        call(&running, "https", showing(Some(ours.issue("agent")))).await,
        Ok(())
    );
}

#[tokio::test]
async fn where_certificates_are_optional_only_wrong_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority(dir.path(), "ours");
    let others = authority(dir.path(), "others");
    let settings = tls_settings(&ours, Some(&ours), ClientCertificates::Optional);
    let running = run(settings, Desk::new().services()).await;
    let showing = |identity: Option<(PathBuf, PathBuf)>| {
        let (certificate, key) = identity.unzip();
        Endpoints {
            ca: Some(ours.ca.clone()),
            certificate,
            key,
            ..Endpoints::default()
        }
    };
    assert_eq!(call(&running, "https", showing(None)).await, Ok(()));
    let own = Some(ours.issue("agent"));
    assert_eq!(call(&running, "https", showing(own)).await, Ok(()));
    let foreign = Some(others.issue("agent"));
    assert_ne!(call(&running, "https", showing(foreign)).await, Ok(()));
}

#[tokio::test]
async fn each_connection_is_made_with_the_files_as_they_are_then() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority(dir.path(), "ours");
    let others = authority(dir.path(), "others");
    let settings = tls_settings(&ours, Some(&ours), ClientCertificates::Required);
    let running = run(settings, Desk::new().services()).await;
    // The same file names, from another authority at first.
    let (certificate, key) = others.issue("agent");
    let url = format!("https://localhost:{}", running.address.port());
    let endpoints = Endpoints {
        urls: Urls::default().with(&IAM, url),
        ca: Some(ours.ca.clone()),
        certificate: Some(certificate.clone()),
        key: Some(key.clone()),
    };
    let mut client = EventServiceClient::new(endpoints.channel(&IAM).unwrap());
    let mut call = async || {
        let request = bearing("acme", ListEventsRequest::default());
        client.list_events(request).await.map(drop)
    };
    call().await.unwrap_err();
    // Half of a renewal: the key does not belong to the certificate. It says so, and nothing breaks.
    std::fs::rename(ours.issue("renewed").0, &certificate).unwrap();
    let error = format!("{:?}", call().await.unwrap_err());
    assert!(error.contains("endpoints.certificate"), "{error}");
    let (new_certificate, new_key) = ours.issue("renewed");
    std::fs::rename(new_certificate, &certificate).unwrap();
    std::fs::rename(new_key, &key).unwrap();
    call().await.unwrap();
}

#[tokio::test]
async fn a_plaintext_listener_that_others_reach_is_not_started() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let services = Desk::new().services();
    let error = serve(
        &settings(),
        DESK,
        services,
        listener,
        CancellationToken::new(),
    )
    .await;
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("without TLS") && text.contains(&address.to_string()),
        "{text}"
    );
}
