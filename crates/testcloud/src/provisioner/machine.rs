//! Machines as the provisioner sees them, each known by its number: what they report, and how they enrol.

use std::net::SocketAddr;
use std::path::Path;

use photon_api::inventory::{Answer, Disk, Interface, Report};
use photon_api::provisioner::v1::{
    EnrolRequest, MachineIdentity, MachineState, ReportReadyRequest,
};
use photon_testkit::until;
use rcgen::{CertificateParams, DnType, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::Identity;

use super::{Identified, Rack, join_token};

/// A host with its certificate.
pub struct Host {
    pub key: KeyPair,
    pub certificate: String,
}

impl Identified for Host {
    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, self.key.serialize_pem())
    }
}

impl Rack {
    /// What the machine number `n` gets for its inventory.
    pub async fn report(&self, n: u8) -> Answer {
        self.report_as(&report_of(n)).await
    }

    /// What a machine gets for this inventory.
    pub async fn report_as(&self, inventory: &Report) -> Answer {
        report(self.boot_at(), inventory).await
    }

    pub async fn post_report(&self, report: &Report) -> (u16, String) {
        let json = serde_json::to_vec(report).unwrap();
        self.http("POST", "/inventory", &[], &json).await
    }

    /// One HTTP request to the boot listener: status and body.
    pub async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String) {
        http(self.boot_at(), method, path, headers, body).await
    }

    /// What the machine number `n` is given to boot.
    pub async fn boot(&self, n: u8) -> String {
        let path = format!(
            "/boot.ipxe?mac={}&serial=S-{n}&uuid=",
            mac(n).replace(':', "%3a")
        );
        let (status, body) = self.http("GET", &path, &[], b"").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Machine number `n` is reported and approved, reports again, and its installer runs: its id and join token.
    pub async fn installing(&self, n: u8, name: &str) -> (String, String) {
        let id = self.report(n).await.id;
        self.approve(&id, name).await.unwrap();
        (id.clone(), self.installer_runs(n, &id).await)
    }

    /// An approved machine reports, and its installer runs: the join token.
    pub async fn installer_runs(&self, n: u8, id: &str) -> String {
        self.report(n).await;
        let unit = format!("photon-install-{id}.service");
        until(async || self.systemd().task(&unit)).await;
        self.reaches(id, MachineState::Installing).await;
        let token = std::fs::read_to_string(join_token(self.place(), id));
        token.unwrap().trim().to_owned()
    }

    /// Machine number `n` becomes the host `name` and is ready: its id, and the host.
    pub async fn ready(&self, n: u8, name: &str) -> (String, Host) {
        let (id, token) = self.installing(n, name).await;
        self.systemd()
            .exits(&format!("photon-install-{id}.service"), 0);
        let host = self.enrol(n, name, &token).await.unwrap();
        let ready = ReportReadyRequest {
            version: "1".into(),
        };
        self.enrolment(Some(&host))
            .report_ready(ready)
            .await
            .unwrap();
        self.reaches(&id, MachineState::Ready).await;
        (id, host)
    }

    /// The host on machine `n` enrols with a new key.
    pub async fn enrol(&self, n: u8, name: &str, token: &str) -> Result<Host, Status> {
        let key = KeyPair::generate().unwrap();
        let request = enrol_request(n, &csr(name, &key), token);
        let answer = self.enrolment(None).enrol(request).await?.into_inner();
        Ok(Host {
            key,
            certificate: answer.certificate_pem,
        })
    }
}

/// One HTTP request to a boot listener: status and body.
pub async fn http(
    boot: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    let mut stream = until(async || TcpStream::connect(boot).await.ok()).await;
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: boot\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // A server that has refused the head does not read the rest.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no status in {head:?}")),
        body.to_owned(),
    )
}

/// What a machine gets for its inventory.
pub async fn report(boot: SocketAddr, report: &Report) -> Answer {
    let json = serde_json::to_vec(report).unwrap();
    let (status, body) = http(boot, "POST", "/inventory", &[], &json).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

pub fn mac(n: u8) -> String {
    format!("52:54:00:00:00:{n:02x}")
}

pub fn uuid(n: u8) -> String {
    format!("4c4c4544-0042-3510-8051-0000000000{n:02x}")
}

/// What machine number `n` tells.
pub fn report_of(n: u8) -> Report {
    Report {
        serial: format!("S-{n}"),
        uuid: uuid(n),
        manufacturer: "QEMU".into(),
        product: "Standard PC".into(),
        cpus: 2,
        memory_mib: 2048,
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: mac(n),
            up: true,
            speed_mbps: 0,
            usb: false,
        }],
        disks: vec![Disk {
            device: "/dev/vda".into(),
            size_bytes: 8 << 30,
            ..Disk::default()
        }],
        ssh_host_key: String::new(),
    }
}

/// A request for a certificate with this name and key.
pub fn csr(name: &str, key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serialize_request(key).unwrap().pem().unwrap()
}

/// Enrolment from machine number `n`.
pub fn enrol_request(n: u8, csr: &str, token: &str) -> EnrolRequest {
    EnrolRequest {
        token: token.into(),
        certificate_request_pem: csr.into(),
        identity: Some(MachineIdentity {
            serial: format!("S-{n}"),
            uuid: uuid(n),
            macs: vec![mac(n)],
        }),
    }
}

/// Permissions of a path.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
