//! What PrismNET and PlasmaVMC stand on, made by hand: a VRF, a bridge and a TAP by networkd, and a
//! guest in QEMU as a systemd unit, which gets its address from networkd.

use photon_e2e::guest::{Guest, Lease};
use xtask::rack::{Rack, Session};

use crate::SECOND;

const NETWORK: &str = r#"
set -e
cd /run/systemd/network
cat > 50-vrf.netdev <<EOF
[NetDev]
Name=pvtest
Kind=vrf
[VRF]
Table=1001
EOF
cat > 50-vrf.network <<EOF
[Match]
Name=pvtest
EOF
cat > 50-bridge.netdev <<EOF
[NetDev]
Name=pbtest
Kind=bridge
MACAddress=fa:16:3e:00:00:00
EOF
cat > 50-bridge.network <<EOF
[Match]
Name=pbtest
[Network]
VRF=pvtest
Address=10.0.1.1/24
ConfigureWithoutCarrier=yes
DHCPServer=yes
[DHCPServer]
PoolOffset=10
PoolSize=1
EmitDNS=no
[DHCPServerStaticLease]
MACAddress=fa:16:3e:00:00:10
Address=10.0.1.10
EOF
cat > 50-tap.netdev <<EOF
[NetDev]
Name=pttest
Kind=tap
EOF
cat > 50-tap.network <<EOF
[Match]
Name=pttest
[Network]
Bridge=pbtest
EOF
networkctl reload
until networkctl status pttest >/dev/null 2>&1 && networkctl status pbtest | grep -q configured; do :; done
"#;

#[tokio::test]
async fn a_guest_gets_its_static_lease_from_networkd_in_a_vrf() {
    let rack = Rack::start(1).await.unwrap();
    let host = rack.host(1);
    host.check(NETWORK).await.unwrap();
    let files = rack.guest();
    host.copy_in(&files.kernel_unpacked, "/root/vmlinux")
        .await
        .unwrap();
    host.copy_in(&files.initrd, "/root/initrd").await.unwrap();

    let begun = std::time::Instant::now();
    host.check(
        "systemd-run --unit=guest -p MemoryMax=400M qemu-system-x86_64 -accel tcg -M q35 -bios qboot.rom \
           -m 160 -nodefaults -no-user-config -display none -no-reboot \
           -kernel /root/vmlinux -initrd /root/initrd -append 'console=ttyS0 quiet panic=-1' \
           -chardev socket,id=c0,path=/run/guest.serial,server=on,wait=off,logfile=/run/guest.log -serial chardev:c0 \
           -qmp unix:/run/guest.qmp,server=on,wait=off \
           -netdev tap,id=n0,ifname=pttest,script=no,downscript=no \
           -device virtio-net-pci,netdev=n0,mac=fa:16:3e:00:00:10,romfile=",
    )
    .await
    .unwrap();
    host.check("until [ -S /run/guest.serial ]; do :; done")
        .await
        .unwrap();
    let line: Session = host
        .spawn("exec socat - UNIX-CONNECT:/run/guest.serial")
        .await
        .unwrap();
    let mut guest = Guest::on(line);
    let lease = guest.lease(90 * SECOND).await.unwrap();
    eprintln!("lease after {:.1} s", begun.elapsed().as_secs_f64());
    let expected = Lease {
        address: "10.0.1.10/24".into(),
        gateway: "10.0.1.1".into(),
        interface: "eth0".into(),
        mac: "fa:16:3e:00:00:10".into(),
    };
    assert_eq!(lease, expected);

    guest
        .check("ping -c1 -W5 10.0.1.1", 20 * SECOND)
        .await
        .unwrap();
    let (status, output) = guest
        .run("echo two words; false", 10 * SECOND)
        .await
        .unwrap();
    assert_eq!((status, output.as_str()), (1, "two words"));
    for round in 0..20 {
        let said = guest
            .check(&format!("echo 'round {round}' && hostname"), 10 * SECOND)
            .await
            .unwrap();
        assert_eq!(said, format!("round {round}\nguest"));
    }
    host.check("ip vrf exec pvtest ping -c1 -W5 10.0.1.10")
        .await
        .unwrap();
    assert!(!host.run("ping -c1 -W1 10.0.1.10").await.unwrap().success());

    // The guest takes the power button for what it is.
    host.check(
        r#"printf '{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}' | \
           socat -t 30 - UNIX-CONNECT:/run/guest.qmp | grep -q SHUTDOWN; \
           while systemctl is-active -q guest; do :; done"#,
    )
    .await
    .unwrap();
}
