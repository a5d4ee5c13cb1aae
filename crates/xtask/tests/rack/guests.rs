//! What tenants bring, and what becomes of a guest when it, its process or its host goes down.

use std::path::Path;
use std::time::Duration;

use photon_api::plasmavmc::v1::{
    CreateVmRequest, Disk, GetVmRequest, Image, ImageFormat, ImagePart, ImportImageChunk,
    ImportImageHeader, ImportImageRequest, NetworkInterface, RestartPolicy, StartVmRequest, Vm,
    VmPhase, VmSpec, import_image_request::Message,
};
use photon_api::prismnet::v1::{CreatePortRequest, CreateSubnetRequest, CreateVpcRequest, Port};
use photon_e2e::Session;
use photon_e2e::console::Console;
use photon_e2e::guest::{Guest, Line};
use photon_e2e::vm::COMMAND_LINE;
use tokio::time::Instant;
use xtask::cache::Cache;
use xtask::images::cloud_guest;
use xtask::photoncloud;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{BOOT, Cloud, Tenant};

const CHUNK: usize = 1 << 20;
/// Debian with systemd and Python.
const CLOUD_GUEST_MEMORY_MIB: u64 = 384;
const GUEST_MEMORY_MIB: u64 = 160;
/// Debian's own boot and cloud-init take one emulated processor a minute or two, and three on a busy machine.
const REPORT: Duration = Duration::from_secs(420);

/// Words of a kernel's command line that are something to a shell, to systemd or to QEMU. They are the guest's.
const FOREIGN_TEXT: &str = "$NOSUCH a=${INVOCATION_ID} b=$$ c=%n,%% d='\"";

async fn import_disk(session: &Session, name: &str, path: &Path) -> Image {
    let header = ImportImageRequest {
        message: Some(Message::Header(ImportImageHeader {
            name: name.into(),
            format: ImageFormat::Qcow2.into(),
            ..Default::default()
        })),
    };
    let content = std::fs::read(path).unwrap();
    let chunks: Vec<_> = content
        .chunks(CHUNK)
        .map(|data| ImportImageRequest {
            message: Some(Message::Chunk(ImportImageChunk {
                part: ImagePart::Disk.into(),
                data: data.to_vec(),
            })),
        })
        .collect();
    let messages = tokio_stream::iter(std::iter::once(header).chain(chunks));
    let answer = session.images().import_image(messages).await.unwrap();
    answer.into_inner().image.unwrap()
}

async fn create(session: &Session, name: &str, spec: VmSpec) -> Vm {
    let request = CreateVmRequest {
        name: name.into(),
        spec: Some(spec),
        ..Default::default()
    };
    let answer = session.vms().create_vm(request).await.unwrap();
    answer.into_inner().vm.unwrap()
}

/// A VM that boots the test guest's kernel.
async fn small(tenant: &Tenant, name: &str, policy: RestartPolicy, disks: Vec<Disk>) -> Vm {
    let spec = VmSpec {
        memory_mib: GUEST_MEMORY_MIB,
        kernel_image_id: tenant.image.id.clone(),
        kernel_command_line: format!("{COMMAND_LINE} {FOREIGN_TEXT}"),
        restart_policy: policy.into(),
        disks,
        ..Default::default()
    };
    create(&tenant.session, name, spec).await
}

/// The guest's console once its shell answers, whichever boot of it that is.
async fn shell(session: &Session, vm: &Vm) -> Guest<Console> {
    let deadline = Instant::now() + BOOT;
    loop {
        // Between two runs of a VM there is no console.
        if let Ok(mut guest) = session.guest(vm).await
            && guest.ready(20 * SECOND).await.is_ok()
        {
            return guest;
        }
        assert!(Instant::now() < deadline, "{} does not answer", vm.name);
        tokio::time::sleep(SECOND / 2).await;
    }
}

async fn wait_for(session: &Session, vm: &Vm, phase: VmPhase) -> Vm {
    session.wait_for_phase(vm, phase, BOOT).await.unwrap()
}

/// Everything on the guest's console until it says `last`.
async fn said(session: &Session, vm: &Vm, last: &str, limit: Duration) -> String {
    let (mut text, deadline) = (String::new(), Instant::now() + limit);
    let mut console = session.console(vm).await.unwrap();
    while !text.contains(last) {
        let received = tokio::time::timeout_at(deadline, console.receive()).await;
        let bytes = received
            .unwrap_or_else(|_| panic!("no '{last}' within {limit:?}:\n{text}"))
            .unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes).replace('\r', ""));
    }
    text
}

/// A port that no guest hears its addresses of: its subnet has no DHCP, and its IPv6 address is not that of its MAC.
async fn quiet_port(session: &Session) -> Port {
    let request = CreateVpcRequest {
        name: "quiet".into(),
        cidr: "10.0.9.0/24".into(),
        ipv6_cidr: "fd00:9::/48".into(),
        ..Default::default()
    };
    let answer = session.vpcs().create_vpc(request).await.unwrap();
    let request = CreateSubnetRequest {
        vpc_id: answer.into_inner().vpc.unwrap().id,
        name: "quiet".into(),
        dhcp_enabled: Some(false),
        cidr: "10.0.9.0/24".into(),
        ipv6_cidr: "fd00:9::/64".into(),
        ..Default::default()
    };
    let answer = session.subnets().create_subnet(request).await.unwrap();
    let request = CreatePortRequest {
        subnet_id: answer.into_inner().subnet.unwrap().id,
        name: "quiet".into(),
        ip_address: "10.0.9.10".into(),
        ipv6_address: "fd00:9::10".into(),
        ..Default::default()
    };
    let answer = session.ports().create_port(request).await.unwrap();
    answer.into_inner().port.unwrap()
}

#[tokio::test]
async fn a_disk_image_boots_and_cloud_init_applies_its_owners_data() {
    let image = tokio::task::spawn_blocking(|| cloud_guest::ensure(&Cache::open().unwrap()))
        .await
        .unwrap()
        .unwrap();
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let tenant = cloud.tenant("acme").await;
    let session = &tenant.session;
    let begun = Instant::now();
    let image = import_disk(session, "debian", &image.file(cloud_guest::IMAGE)).await;
    eprintln!("imported after {:.1} s", begun.elapsed().as_secs_f64());

    host.check(
        "for key in own other; do ssh-keygen -q -t ed25519 -N '' -C tenant -f /run/$key; done",
    )
    .await
    .unwrap();
    let key = host.check("base64 -w0 /run/own").await.unwrap();
    let other = host.check("base64 -w0 /run/other").await.unwrap();
    let public = host.check("cat /run/own.pub").await.unwrap();
    // The guest itself signs in to itself: nobody else may reach it.
    let user_data = format!(
        "#cloud-config\n\
         write_files:\n\
         - {{path: /root/own, permissions: '0600', encoding: b64, content: {key}}}\n\
         - {{path: /root/other, permissions: '0600', encoding: b64, content: {other}}}\n\
         - path: /root/report\n  permissions: '0700'\n  content: |\n\
         \x20   enter() {{ ssh -i $1 -o StrictHostKeyChecking=no -o BatchMode=yes -o IdentitiesOnly=yes debian@$address \"$2\"; }}\n\
         \x20   address=$(ip -4 -o addr show dev lan | awk '{{print $4}}' | cut -d/ -f1)\n\
         \x20   echo \"PHOTON-GUEST address $address\"\n\
         \x20   echo \"PHOTON-GUEST back $(ip -o addr show dev back scope global | awk '{{print $4}}' | xargs)\"\n\
         \x20   echo \"PHOTON-GUEST default by $(ip -4 route show default | awk '{{print $5}}' | xargs)\"\n\
         \x20   for gateway in 10.0.9.1 fd00:9::1; do busybox ping -c 3 -W 20 $gateway >/dev/null && echo PHOTON-GUEST reached $gateway; done\n\
         \x20   enter /root/own 'echo PHOTON-GUEST entered as $(whoami) on $(hostname)'\n\
         \x20   enter /root/other true || echo PHOTON-GUEST stranger refused\n\
         \x20   echo PHOTON-GUEST reported\n\
         runcmd:\n\
         - until ip -4 -o addr show dev lan | grep -q inet; do sleep 0.2; done; sh /root/report >/dev/ttyS0 2>&1\n"
    );
    let port = session
        .create_port(&tenant.subnet, "web-1", "10.0.1.10")
        .await
        .unwrap();
    let quiet = quiet_port(session).await;
    let begun = Instant::now();
    let vm = create(
        session,
        "web-1",
        VmSpec {
            memory_mib: CLOUD_GUEST_MEMORY_MIB,
            disks: vec![Disk {
                id: "root".into(),
                image_id: image.id.clone(),
                // Larger than the image.
                size_bytes: 2 << 30,
            }],
            network: vec![
                NetworkInterface {
                    id: "lan".into(),
                    port_id: port.id.clone(),
                    ..Default::default()
                },
                NetworkInterface {
                    id: "back".into(),
                    port_id: quiet.id.clone(),
                    ..Default::default()
                },
            ],
            hostname: "shop".into(),
            ssh_authorized_keys: vec![public.trim().to_owned()],
            user_data,
            ..Default::default()
        },
    )
    .await;
    wait_for(session, &vm, VmPhase::Running).await;
    eprintln!("running after {:.1} s", begun.elapsed().as_secs_f64());
    let text = said(session, &vm, "PHOTON-GUEST reported\n", REPORT).await;
    eprintln!("reported after {:.1} s", begun.elapsed().as_secs_f64());
    for expected in [
        "PHOTON-GUEST address 10.0.1.10\n",
        "PHOTON-GUEST back 10.0.9.10/24 fd00:9::10/64\n",
        "PHOTON-GUEST default by lan\n",
        "PHOTON-GUEST reached 10.0.9.1\n",
        "PHOTON-GUEST reached fd00:9::1\n",
        "PHOTON-GUEST entered as debian on shop\n",
        "PHOTON-GUEST stranger refused\n",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
    // cloud-init's own last words.
    said(session, &vm, "Datasource DataSourceNoCloud", REPORT).await;
}

#[tokio::test]
async fn a_guest_that_ends_is_started_again_as_its_restart_policy_says() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let tenant = cloud.tenant("acme").await;
    let session = &tenant.session;
    let always = small(&tenant, "always", RestartPolicy::Always, vec![]).await;
    let on_failure = small(&tenant, "on-failure", RestartPolicy::OnFailure, vec![]).await;
    let never = small(&tenant, "never", RestartPolicy::Never, vec![]).await;
    let started = async |vm: &Vm| -> Guest<Console> {
        let mut guest = shell(session, vm).await;
        guest
            .check("touch /tmp/this-run", 30 * SECOND)
            .await
            .unwrap();
        guest
    };
    let is_new = async |guest: &mut Guest<Console>| {
        let old = guest.run("test -e /tmp/this-run", 30 * SECOND).await;
        old.unwrap().0 != 0
    };

    // The guest powers itself down.
    let mut guest = started(&always).await;
    let line = guest.check("cat /proc/cmdline", 30 * SECOND).await.unwrap();
    assert!(line.ends_with(FOREIGN_TEXT), "{line}");
    // The console ends with the guest, maybe before it has answered.
    let _ = guest.run("poweroff -f", 10 * SECOND).await;
    let deadline = Instant::now() + BOOT;
    while !is_new(&mut shell(session, &always).await).await {
        assert!(Instant::now() < deadline, "it was not started again");
    }
    for vm in [&on_failure, &never] {
        let mut guest = started(vm).await;
        let _ = guest.run("poweroff -f", 10 * SECOND).await;
        let ended = wait_for(session, vm, VmPhase::Stopped).await;
        assert!(
            ended.status_message.contains("powered itself down"),
            "{}",
            ended.status_message
        );
        session
            .vms()
            .start_vm(StartVmRequest {
                id: vm.id.clone(),
                ..Default::default()
            })
            .await
            .unwrap();
        started(vm).await;
    }

    // Its kernel panics.
    for vm in [&always, &on_failure, &never] {
        let mut guest = started(vm).await;
        let _ = guest.run("echo c > /proc/sysrq-trigger", 10 * SECOND).await;
    }
    for vm in [&always, &on_failure] {
        let deadline = Instant::now() + BOOT;
        while !is_new(&mut shell(session, vm).await).await {
            assert!(Instant::now() < deadline, "it was not started again");
        }
    }
    let ended = wait_for(session, &never, VmPhase::Failed).await;
    assert!(
        ended.status_message.contains("the guest panicked"),
        "{}",
        ended.status_message
    );
    session
        .vms()
        .start_vm(StartVmRequest {
            id: never.id.clone(),
            ..Default::default()
        })
        .await
        .unwrap();

    // Its process dies.
    started(&always).await;
    for vm in [&always, &on_failure, &never] {
        host.check(&format!(
            "systemctl kill --signal=KILL --kill-whom=main photon-vm-{}.service",
            vm.id
        ))
        .await
        .unwrap();
    }
    for vm in [&always, &on_failure] {
        let deadline = Instant::now() + BOOT;
        while !is_new(&mut shell(session, vm).await).await {
            assert!(
                Instant::now() < deadline,
                "{} was not started again",
                vm.name
            );
        }
    }
    let deadline = Instant::now() + 60 * SECOND;
    while phase(session, &never).await != VmPhase::Failed {
        assert!(Instant::now() < deadline, "it is not reported as failed");
        tokio::time::sleep(SECOND / 5).await;
    }
}

async fn phase(session: &Session, vm: &Vm) -> VmPhase {
    let request = GetVmRequest {
        id: vm.id.clone(),
        ..Default::default()
    };
    let answer = session.vms().get_vm(request).await.unwrap();
    answer.into_inner().vm.unwrap().phase()
}

/// Writes on the guest's disk what the guest does when it is asked to power down.
async fn leave_a_mark(guest: &mut Guest<Console>) {
    guest
        .check(
            "echo '#!/bin/sh' > /run/on-powerdown; echo 'echo went down in good order > /dev/vda; sync' >> /run/on-powerdown; \
             chmod +x /run/on-powerdown",
            30 * SECOND,
        )
        .await
        .unwrap();
}

async fn mark(host: &Host, tenant: &Tenant, vm: &Vm) -> String {
    photoncloud::wait_until_active(host).await.unwrap();
    let mut guest = shell(&tenant.session, vm).await;
    guest
        .check("head -c 23 /dev/vda", 30 * SECOND)
        .await
        .unwrap()
}

#[tokio::test]
async fn guests_are_asked_to_power_down_when_their_host_does_and_come_back_with_it() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let tenant = cloud.tenant("acme").await;
    let disk = Disk {
        id: "data".into(),
        size_bytes: 1 << 20,
        ..Default::default()
    };
    let vm = small(&tenant, "db", RestartPolicy::OnFailure, vec![disk]).await;
    let mut guest = shell(&tenant.session, &vm).await;
    leave_a_mark(&mut guest).await;
    drop(guest);

    let took = host.power_off().await.unwrap();
    eprintln!("the host was off after {:.1} s", took.as_secs_f64());
    host.boot().await.unwrap();
    assert_eq!(mark(&host, &tenant, &vm).await, "went down in good order");
}
