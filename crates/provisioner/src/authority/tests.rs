use std::os::unix::fs::PermissionsExt;

use rcgen::CertificateSigningRequest;

use super::*;

fn settings(dir: &Path) -> Settings {
    Settings {
        cluster: "example".into(),
        domain: "example.internal".into(),
        ca_dir: dir.into(),
        ..Settings::default()
    }
}

fn authority(dir: &Path) -> Authority {
    make(dir, "example", SystemTime::now()).unwrap();
    Authority::load(&settings(dir)).unwrap()
}

fn csr(name: &str, sans: &[&str], key: &KeyPair) -> CertificateSigningRequest {
    let sans: Vec<String> = sans.iter().map(|san| (*san).to_owned()).collect();
    let mut params = CertificateParams::new(sans).unwrap();
    params.distinguished_name = common_name(name);
    params.serialize_request(key).unwrap()
}

#[test]
fn an_authority_is_made_once_and_its_key_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    assert!(make(dir.path(), "example", SystemTime::now()).unwrap());
    let before = std::fs::read(dir.path().join(CERTIFICATE)).unwrap();
    assert!(!make(dir.path(), "example", SystemTime::now()).unwrap());
    assert_eq!(std::fs::read(dir.path().join(CERTIFICATE)).unwrap(), before);
    let mode = std::fs::metadata(dir.path().join(KEY))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // A crash after the key was written is finished with that key.
    let key = std::fs::read(dir.path().join(KEY)).unwrap();
    std::fs::remove_file(dir.path().join(CERTIFICATE)).unwrap();
    assert!(make(dir.path(), "example", SystemTime::now()).unwrap());
    assert_eq!(std::fs::read(dir.path().join(KEY)).unwrap(), key);
    Authority::load(&settings(dir.path())).unwrap();

    // A lost key is not replaced silently.
    std::fs::remove_file(dir.path().join(KEY)).unwrap();
    let error = make(dir.path(), "example", SystemTime::now()).unwrap_err();
    assert!(error.to_string().contains("backup"), "{error}");
}

#[test]
fn a_certificate_has_the_names_that_the_authority_decides_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let key = KeyPair::generate().unwrap();
    let asked = csr("node02", &["node01", "evil.example", "192.0.2.1"], &key);
    let request = Request::parse(&asked.pem().unwrap()).unwrap();
    assert_eq!(request.name, "node02");
    let now = SystemTime::now();
    let address = Some("192.0.2.2".parse().unwrap());
    let issued = authority
        .issue("node02", address, &request.key, now)
        .unwrap();
    let inspected = inspect(&issued.pem).unwrap();
    assert_eq!(
        inspected.names,
        [
            "node02",
            "node02.example.internal",
            "photon://example/node/node02",
            "192.0.2.2"
        ]
    );
    assert_eq!(inspected.public_key, key.public_key_raw());
    let der = der(&issued.pem).unwrap();
    let host = authority.host_of(&der, now).unwrap();
    let late = issued.expires_at;
    assert!(
        authority
            .host_of(&der, late)
            .unwrap_err()
            .contains("expired")
    );
    assert_eq!(
        (host.name.as_str(), &host.serial),
        ("node02", &issued.serial)
    );
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    let days = issued.expires_at.duration_since(now).unwrap().as_secs() / 86_400;
    assert_eq!(days, 30);
    assert_eq!(
        issued.renew_at.duration_since(now).unwrap().as_secs() / 86_400,
        20
    );
}

#[test]
fn an_authority_of_a_time_to_come_signs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    make(dir.path(), "example", now + day).unwrap();
    let authority = Authority::load(&settings(dir.path())).unwrap();
    let key = KeyPair::generate().unwrap();
    let error = authority.issue("node02", None, &key, now).unwrap_err();
    assert!(matches!(error, Error::FailedPrecondition(_)), "{error}");
    authority.issue("node02", None, &key, now + day).unwrap();
    let error = authority.issue("node02", None, &key, now + LIFE * 2);
    assert!(error.unwrap_err().to_string().contains("ended"));
}

#[test]
fn a_certificate_of_another_cluster_is_no_hosts_here() {
    let dir = tempfile::tempdir().unwrap();
    let here = authority(dir.path());
    let there = Authority::load(&Settings {
        cluster: "other".into(),
        ..settings(dir.path())
    })
    .unwrap();
    let key = KeyPair::generate().unwrap();
    let issued = there
        .issue("node02", None, &key, SystemTime::now())
        .unwrap();
    let error = here
        .host_of(&der(&issued.pem).unwrap(), SystemTime::now())
        .unwrap_err();
    assert!(error.contains("photon://other/node/node02"), "{error}");
    let authority_itself = der(here.ca_pem()).unwrap();
    assert!(here.host_of(&authority_itself, SystemTime::now()).is_err());
}

#[test]
fn a_request_that_proves_nothing_is_refused() {
    let key = KeyPair::generate().unwrap();
    let good = csr("node02", &[], &key);
    // The name is changed after it was signed.
    let mut bytes = good.der().to_vec();
    let at = bytes.windows(6).position(|it| it == b"node02").unwrap();
    bytes[at + 5] = b'3';
    let forged = rcgen_pem(&bytes);
    assert!(matches!(
        Request::parse(&forged),
        Err(Refused::NotPossessed)
    ));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    for (pem, why) in [
        (csr("node02", &[], &p384).pem().unwrap(), "P-256"),
        (String::new(), ""),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n".into(),
            "",
        ),
        ("x".repeat(20 << 10), "16 KiB"),
    ] {
        let error = Request::parse(&pem).unwrap_err();
        assert!(
            matches!(&error, Refused::Malformed(text) if text.contains(why)),
            "{error}"
        );
    }
}

fn rcgen_pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
}
