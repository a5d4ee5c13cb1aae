//! node01 of the example cluster as evaluation renders it: control plane, boot server, provisioner.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use photon_api::iam::v1::IssueTokenRequest;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::provisioner::v1::enrolment_service_client::EnrolmentServiceClient;
use photon_api::provisioner::v1::machine_service_client::MachineServiceClient;
use photon_api::provisioner::v1::{
    ApproveMachineRequest, EnrolRequest, GetMachineRequest, ListMachinesRequest, Machine,
    MachineState,
};
use photon_e2e::OPERATOR;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use xtask::cache::Cache;
use xtask::images::machine;
use xtask::photoncloud::programs::Programs;
use xtask::photoncloud::{self, appliance};
use xtask::rack::{Host, Rack};

const PKI: &str = "/var/lib/photoncloud/pki";
const INSTALLER_KEY: &str = "/var/lib/photoncloud/installer/ssh-key";

pub struct Stage {
    pub rack: Rack,
    provisioner: Channel,
    bearer: MetadataValue<Ascii>,
}

impl Stage {
    /// `hosts` are those of the example cluster that machines can become.
    pub async fn start(hosts: &'static [&'static str]) -> Self {
        let prepared = tokio::task::spawn_blocking(|| {
            let images = machine::ensure(&Cache::open().unwrap()).unwrap();
            (Programs::ensure().unwrap(), images)
        });
        let (rack, prepared) = tokio::join!(Rack::start(1), prepared);
        let (rack, (programs, images)) = (rack.unwrap(), prepared.unwrap());
        let node01 = rack.host(1);
        appliance::install(&node01, &programs, "node01")
            .await
            .unwrap();
        let key = installer_key(&node01).await;
        let share = node01.share();
        let scratch = rack.dir().join("scratch");
        put_netboot_image(
            &share.join("netboot"),
            &images.file(machine::KERNEL),
            &images.file(machine::INITRD),
            programs.path("photon-enrol").unwrap(),
        );
        let closures = share.join("stand-in");
        std::fs::create_dir(&closures).unwrap();
        std::fs::copy(images.file(machine::SYSTEM), closures.join(machine::SYSTEM)).unwrap();
        for host in hosts {
            let to = closures.join(format!("{host}.tar.zst"));
            appliance::pack(&to, &programs, host, &key, &scratch).unwrap();
        }
        let installer = photoncloud::tree().join("crates/xtask/assets/netboot/nixos-anywhere.sh");
        std::fs::copy(installer, share.join("nixos-anywhere")).unwrap();
        let backup = photoncloud::tree().join("modules/flaredb/backup.sh");
        std::fs::copy(backup, share.join("photon-backup")).unwrap();
        // Where rendered files name packages of NixOS, Debian has /usr.
        node01
            .check(
                "set -e; share=/run/rack/share
                 ln -s ../sbin/dnsmasq /usr/bin/dnsmasq
                 ln -s $share/netboot/* /usr/
                 ln -s $share/stand-in /usr/lib/stand-in
                 install -m 755 -t /usr/bin $share/nixos-anywhere $share/photon-backup
                 systemctl start --no-block photon-boot-server.service photon.target",
            )
            .await
            .unwrap();
        photoncloud::wait_until_active(&node01).await.unwrap();
        let ca_pem = node01.check(&format!("cat {PKI}/ca.pem")).await.unwrap();
        let bearer = sign_in(&rack, &ca_pem).await;
        Stage {
            provisioner: channel(&rack, &ca_pem, 50089),
            rack,
            bearer,
        }
    }

    pub fn node01(&self) -> Host {
        self.rack.host(1)
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.bearer.clone());
        request
    }

    fn machines(&self) -> MachineServiceClient<Channel> {
        MachineServiceClient::new(self.provisioner.clone())
    }

    pub async fn list(&self) -> Vec<Machine> {
        let request = self.request(ListMachinesRequest::default());
        let answer = self.machines().list_machines(request).await.unwrap();
        answer.into_inner().machines
    }

    /// A provisioner that was just killed is asked again.
    pub async fn machine(&self, id: &str) -> Machine {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let request = self.request(GetMachineRequest { id: id.into() });
            match self.machines().get_machine(request).await {
                Ok(answer) => return answer.into_inner().machine.unwrap(),
                Err(status) => {
                    assert!(Instant::now() < deadline, "{status:?}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    pub async fn approve(&self, id: &str, name: &str) -> Machine {
        let request = self.request(ApproveMachineRequest {
            id: id.into(),
            name: name.into(),
            ..Default::default()
        });
        let answer = self.machines().approve_machine(request).await.unwrap();
        answer.into_inner().machine.unwrap()
    }

    /// Waits until the machine is so; says what was with it if it isn't in time.
    pub async fn wait_for(&self, id: &str, state: MachineState, limit: Duration) -> Machine {
        let deadline = Instant::now() + limit;
        loop {
            let machine = self.machine(id).await;
            if machine.state() == state {
                return machine;
            }
            let over = Instant::now() > deadline || machine.state() == MachineState::Failed;
            assert!(
                !over,
                "the machine is {:?}, not {state:?}: {}\n{}\n{}",
                machine.state(),
                machine.reason,
                machine.log_tail,
                self.journal("photon-provisioner").await
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub async fn enrol(&self, request: EnrolRequest) -> Result<(), tonic::Status> {
        EnrolmentServiceClient::new(self.provisioner.clone())
            .enrol(request)
            .await
            .map(drop)
    }

    pub async fn journal(&self, unit: &str) -> String {
        let script = format!("journalctl --no-pager -o cat -n 60 -u '{unit}'");
        self.node01().check(&script).await.unwrap_or_default()
    }

    /// Runs a command on an installed host, from node01 and with the installer's key.
    pub async fn on_host(&self, address: &str, command: &str) -> String {
        let script = format!(
            "ssh -i {INSTALLER_KEY} -o BatchMode=yes -o ConnectionAttempts=30 -o StrictHostKeyChecking=no -o LogLevel=ERROR \
             -o UserKnownHostsFile=/dev/null root@{address} {}",
            photon_e2e::guest::quote(command)
        );
        self.node01().check(&script).await.unwrap()
    }
}

/// The installer's key pair is made where it is used; the flake's own is an example whose other half nobody has.
async fn installer_key(node01: &Host) -> String {
    let key = node01
        .check(&format!(
            "set -e
             install -d -m 700 $(dirname {INSTALLER_KEY})
             ssh-keygen -q -t ed25519 -N '' -C installer@example -f {INSTALLER_KEY}
             key=$(cat {INSTALLER_KEY}.pub)
             sed -i \"s|^ssh_public_key = .*|ssh_public_key = \\\"$key\\\"|\" /etc/photoncloud/photon-provisioner.toml
             grep -qF \"$key\" /etc/photoncloud/photon-provisioner.toml
             cat {INSTALLER_KEY}.pub"
        ))
        .await;
    key.unwrap()
}

fn put_netboot_image(to: &Path, kernel: &PathBuf, initrd: &PathBuf, enrol: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::copy(kernel, to.join("bzImage")).unwrap();
    let mut image = std::fs::read(initrd).unwrap();
    image.extend(machine::overlay(enrol).unwrap());
    std::fs::write(to.join("initrd"), image).unwrap();
    std::fs::write(to.join("cmdline"), "console=ttyS0 quiet panic=-1\n").unwrap();
}

/// To a server of node01, over the hosts' network, trusting the cluster's authority alone.
fn channel(rack: &Rack, ca_pem: &str, port: u16) -> Channel {
    let address = rack.host(1).address();
    let namespace = rack.namespace();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem));
    Endpoint::from_shared(format!("https://{address}:{port}"))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect_with_connector_lazy(tower::service_fn(move |_: tonic::transport::Uri| {
            let namespace = namespace.clone();
            async move {
                let socket = namespace.socket().await?;
                let stream = socket.connect((address, port).into()).await?;
                anyhow::Ok(TokioIo::new(stream))
            }
        }))
}

async fn sign_in(rack: &Rack, ca_pem: &str) -> MetadataValue<Ascii> {
    let password = photoncloud::operator_password(&rack.host(1)).await.unwrap();
    let answer = IamTokenServiceClient::new(channel(rack, ca_pem, 50080))
        .issue_token(IssueTokenRequest {
            principal_id: OPERATOR.into(),
            credential: Some(Credential::Password(password)),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    format!("Bearer {}", answer.token).parse().unwrap()
}
