//! A bare machine becomes a host of the cloud: it netboots from node01, is approved, installed, and enrols.
//! A Debian system stands in for the NixOS closure, which cannot be built where tests run; the boot server's
//! configuration, the settings and the units are those that evaluation of the flake gives node01 and node02.

mod stage;

use std::time::{Duration, Instant};

use photon_api::provisioner::v1::{EnrolRequest, MachineIdentity, MachineState};
use tonic::Code;
use xtask::rack::bare::{Firmware, Hardware};

use crate::SECOND;
use stage::Stage;

/// The processor of a machine is emulated, beside a rack that installs it.
const NETBOOT: Duration = Duration::from_secs(120);
const INSTALL: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_machine_becomes_ready_with_a_debian_stand_in_for_the_closure() {
    let begun = Instant::now();
    let note = |what: &str| eprintln!("{:6.1} s  {what}", begun.elapsed().as_secs_f64());
    let stage = Stage::start(&["node02"]).await;
    note("node01 is up");

    let hardware = Hardware::of(1);
    let machine = stage.rack.bare_machine(hardware.clone()).await.unwrap();
    machine.power_on().await.unwrap();
    machine.says("reported: machine", 1, NETBOOT).await.unwrap();
    note("netbooted and reported");

    // It is known by what it said, and nothing more happens.
    let [known] = stage.list().await.try_into().unwrap();
    assert_eq!(known.state(), MachineState::Discovered);
    let inventory = known.inventory.clone().unwrap();
    assert_eq!(inventory.serial, hardware.serial);
    assert_eq!(inventory.uuid, hardware.uuid);
    assert_eq!(inventory.product, "Rack machine");
    assert_eq!((inventory.cpus, inventory.interfaces.len()), (1, 1));
    assert_eq!(inventory.interfaces[0].mac, hardware.mac());
    assert_eq!(inventory.disks.len(), 1);
    assert_eq!(inventory.disks[0].serial, hardware.disk_serial());
    assert_eq!(inventory.disks[0].size_bytes, 2 << 30);
    let identity = MachineIdentity {
        serial: hardware.serial.clone(),
        uuid: hardware.uuid.clone(),
        macs: vec![hardware.mac()],
    };
    let guessed = enrolment("guessed", "node02", &identity);
    let refused = stage.enrol(guessed).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    // Switched off and on again it is the same machine, and still nobody's.
    machine.power_cut().await.unwrap();
    machine.power_on().await.unwrap();
    machine.says("reported: machine", 2, NETBOOT).await.unwrap();
    let [again] = stage.list().await.try_into().unwrap();
    assert_eq!(
        (again.id.as_str(), again.state()),
        (known.id.as_str(), MachineState::Discovered)
    );
    assert!(machine.disk_is_blank().unwrap());
    assert!(
        !machine.console().unwrap().contains("Child connection"),
        "someone signed in"
    );
    assert_eq!(tokens(&stage).await, "");

    let approved = stage.approve(&known.id, "node02").await;
    assert_eq!(approved.address, "192.0.2.2");
    stage
        .wait_for(&known.id, MachineState::Installing, 60 * SECOND)
        .await;
    note("the installation has begun");
    machine
        .says("Child connection", 1, 30 * SECOND)
        .await
        .unwrap();
    let token = stage
        .node01()
        .check(&format!("cat {}", tokens(&stage).await.trim()))
        .await
        .unwrap();
    // The provisioner dies; what it began goes on.
    let node01 = stage.node01();
    node01
        .check("systemctl kill -s KILL photon-provisioner; systemctl is-active 'photon-install-*'")
        .await
        .unwrap();

    stage
        .wait_for(&known.id, MachineState::Joined, INSTALL)
        .await;
    note("joined");
    let ready = stage
        .wait_for(&known.id, MachineState::Ready, INSTALL)
        .await;
    note("ready");
    assert_eq!(ready.name, "node02");

    // What it has is what was promised.
    let pki = "cd /var/lib/photoncloud/pki && stat -c '%a %U %n' . * && cat host.pem";
    let found = stage.on_host("192.0.2.2", pki).await;
    for line in [
        "700 root .",
        "644 root ca.pem",
        "600 root host-key.pem",
        "644 root host.pem",
    ] {
        assert!(
            found.lines().any(|found| found == line),
            "no {line:?} in {found}"
        );
    }
    assert!(!found.contains("join-token"), "{found}");
    let certificate = photon_e2e::guest::quote(&found);
    let names = format!(
        "printf %s {certificate} | openssl x509 -noout -ext subjectAltName,extendedKeyUsage"
    );
    let names = stage.node01().check(&names).await.unwrap();
    for name in [
        "DNS:node02",
        "DNS:node02.example.internal",
        "IP Address:192.0.2.2",
        "URI:photon://example/node/node02",
        "TLS Web Server Authentication, TLS Web Client Authentication",
    ] {
        assert!(names.contains(name), "no {name:?} in {names}");
    }
    // What evaluation gives a compute host runs, against node01's servers and by that certificate. The start only
    // waits: `ready` was said a moment before its unit ends.
    let units = "systemctl start photon-ready; \
                 systemctl is-active photon-enrol photon-ready prismnet-agent plasmavmc-agent \
                 photon-renew.timer photon-certificate.path; systemctl --failed --plain --no-legend";
    assert_eq!(
        stage.on_host("192.0.2.2", units).await,
        "active\n".repeat(6)
    );

    // Its token is used up: with another key, and for another machine.
    let mut other = identity.clone();
    other.serial = "RACK-0002".into();
    other.uuid = Hardware::of(2).uuid;
    other.macs = vec![Hardware::of(2).mac()];
    for (what, identity) in [("a replay", &identity), ("another machine", &other)] {
        let request = enrolment(token.trim(), "node02", identity);
        let refused = stage.enrol(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{what}: {refused:?}");
    }

    // A host that netboots is sent to its disk, and nothing on it is lost.
    let mark = "date +%s.%N > /root/kept; sync; cat /root/kept";
    let kept = stage.on_host("192.0.2.2", mark).await;
    machine.power_cut().await.unwrap();
    machine.power_on().await.unwrap();
    machine
        .says("starting from /dev/vda1", 2, NETBOOT)
        .await
        .unwrap();
    note("started from its disk again");
    assert_eq!(stage.machine(&known.id).await.state(), MachineState::Ready);
    let after = loop {
        let reachable = stage.node01().run("ping -c1 -W1 192.0.2.2").await.unwrap();
        if reachable.success() {
            break stage.on_host("192.0.2.2", "cat /root/kept").await;
        }
        assert!(begun.elapsed() < LIMIT, "{}", machine.last_words());
    };
    assert_eq!(after, kept);
    let installers = "systemctl list-units --plain --no-legend 'photon-install-*'";
    assert_eq!(stage.node01().check(installers).await.unwrap(), "");
    note("done");
}

#[tokio::test(flavor = "multi_thread")]
async fn firmware_without_ipxe_gets_it_over_tftp() {
    let stage = Stage::start(&["node02"]).await;
    let hardware = Hardware {
        firmware: Firmware::Uefi,
        ..Hardware::of(1)
    };
    let machine = stage.rack.bare_machine(hardware.clone()).await.unwrap();
    machine.power_on().await.unwrap();
    machine.says("reported: machine", 1, NETBOOT).await.unwrap();
    let [known] = stage.list().await.try_into().unwrap();
    assert_eq!(known.state(), MachineState::Discovered);
    assert_eq!(known.inventory.unwrap().uuid, hardware.uuid);
    let journal = "journalctl --no-pager -o cat -u photon-boot-server.service";
    let journal = stage.node01().check(journal).await.unwrap();
    // Firmware, iPXE and the image each name themselves in their own way, and are one machine.
    let leases = "grep -c ' 192[.]0[.]2[.]' /var/lib/private/photon-boot-server/leases";
    let leases = stage.node01().check(leases).await.unwrap();
    assert_eq!(leases.trim(), "1", "{journal}");
    assert!(
        journal.contains("ipxe.efi to 192.0.2."),
        "nothing was sent over TFTP: {journal}"
    );
    assert!(machine.disk_is_blank().unwrap());
}

/// Where join tokens lie on node01, one a line.
async fn tokens(stage: &Stage) -> String {
    let find =
        "find /var/lib/photoncloud /run/photoncloud -name join-token -size +0 2>/dev/null; true";
    stage.node01().check(find).await.unwrap()
}

/// A request with a key that was never seen before.
fn enrolment(token: &str, name: &str, identity: &MachineIdentity) -> EnrolRequest {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    EnrolRequest {
        token: token.into(),
        certificate_request_pem: parameters.serialize_request(&key).unwrap().pem().unwrap(),
        identity: Some(identity.clone()),
    }
}
