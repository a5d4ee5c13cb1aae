//! A bare machine becomes a host: it netboots from node01, is approved, installed, and enrols.

use xtask::cache::Cache;
use xtask::images::machine;
use xtask::rack::Rack;
use xtask::rack::bare::Hardware;

const NETBOOT: std::time::Duration = std::time::Duration::from_secs(120);

#[tokio::test]
async fn a_bare_machine_netboots() {
    let rack = Rack::start(1).await.unwrap();
    let node01 = rack.host(1);
    let images = tokio::task::spawn_blocking(|| machine::ensure(&Cache::open().unwrap()).unwrap())
        .await
        .unwrap();
    let srv = node01.share().join("srv");
    std::fs::create_dir(&srv).unwrap();
    std::fs::copy(images.file(machine::KERNEL), srv.join("bzImage")).unwrap();
    let mut initrd = std::fs::read(images.file(machine::INITRD)).unwrap();
    let script = srv.join("enrol");
    std::fs::write(&script, "#!/bin/sh\necho \"$@\"\n").unwrap();
    initrd.extend(machine::overlay(&script).unwrap());
    std::fs::write(srv.join("initrd"), initrd).unwrap();
    std::fs::write(srv.join("boot.ipxe"), "#!ipxe\nkernel /bzImage initrd=initrd console=ttyS0 quiet panic=-1 photon.provisioner=http://192.0.2.1:8089\ninitrd /initrd\nboot\n").unwrap();
    std::fs::write(srv.join("dnsmasq.conf"), DNSMASQ).unwrap();
    let _httpd = node01
        .spawn("busybox httpd -f -p 192.0.2.1:8089 -h /run/rack/share/srv")
        .await
        .unwrap();
    let _dnsmasq = node01.spawn("ip -6 address add fe80::1/64 dev vec0 nodad; ip -6 address add fd00:5::1/64 dev vec0 nodad; mkdir -p /srv/tftp; cp /usr/lib/ipxe/undionly.kpxe /srv/tftp/; dnsmasq -k --log-facility=/run/rack/share/dnsmasq.log --conf-file=/run/rack/share/srv/dnsmasq.conf").await.unwrap();
    let machine = rack.bare_machine(Hardware::of(1)).await.unwrap();
    let begun = std::time::Instant::now();
    machine.power_on().await.unwrap();
    let booted = machine.says("PHOTON-MACHINE reported", 1, NETBOOT).await;
    eprintln!("netbooted in {:?}", begun.elapsed());
    eprintln!(
        "{}",
        std::fs::read_to_string(node01.share().join("dnsmasq.log")).unwrap()
    );
    booted.unwrap();
    eprintln!("{}", machine.console().unwrap());
    assert!(machine.disk_is_blank().unwrap());
}

const DNSMASQ: &str = "\
port=0
interface=vec0
bind-interfaces
log-dhcp
dhcp-range=192.0.2.100,192.0.2.199,255.255.255.0,1h
enable-ra
dhcp-range=fd00:5::,ra-only
enable-tftp
tftp-root=/srv/tftp
dhcp-userclass=set:ipxe,iPXE
dhcp-boot=tag:!ipxe,undionly.kpxe
dhcp-boot=tag:ipxe,http://192.0.2.1:8089/boot.ipxe
";
