# The example cluster of three: its hosts enrol, sign in by their certificates, and run tenants' guests that reach each
# other across hosts.
{ lib, support, ... }:
let
  # The hosts run already: what is left of an installation is to bring the files that enrolment needs, and to begin it.
  stand-in = ''
    while [ $# -gt 0 ]; do
      case $1 in
        --target-host) target=$2; shift 2 ;;
        --extra-files) extra=$2; shift 2 ;;
        -i) key=$2; shift 2 ;;
        *) shift ;;
      esac
    done
    options=(-i "$key" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null)
    scp -r "''${options[@]}" "$extra/var" "$target:/"
    ssh "''${options[@]}" "$target" systemctl start --no-block photon-enrol.service photon-ready.service
  '';
  compute = [
    "node02"
    "node03"
  ];
in
{
  name = "rack";
  # What is waited for below, added up; the driver's own hour is less.
  globalTimeout = 4 * 3600;

  nodes = {
    node01.imports = [
      (support.node "node01")
      (support.installing stand-in)
    ];
  }
  // lib.genAttrs compute support.node;

  testScript = ''
    ${support.prelude}
    start_all()
    wait_for(node01, SERVERS + AGENTS + ["photon-provisioner"])
    node01.wait_for_open_port(8089, "192.0.2.1")

    password = "/var/lib/photoncloud/credentials/operator-password"
    node01.succeed(f"photon login operator --password-file {password}")

    hosts = {"node02": node02, "node03": node03}
    for name, machine in hosts.items():
        with subtest(f"{name} gets nothing before it is approved"):
            machine.wait_for_unit("photon.target")
            machine.fail("test -e /var/lib/photoncloud/pki/host.pem")
            machine.succeed(
                "systemd-run --unit=report photon-enrol report --provisioner http://192.0.2.1:8089"
            )
            mac = machine.succeed("cat /sys/class/net/eth1/address").strip()
            node01.wait_until_succeeds(f"photon machine show {mac} | grep -i discovered")

        with subtest(f"{name} is approved, and ready by itself"):
            node01.succeed(f"photon machine approve {mac} --name {name} --yes-wipe {name}")
            node01.succeed(f"photon machine watch {name}", timeout=600)
            machine.succeed("test -e /var/lib/photoncloud/pki/host.pem")
            machine.fail("test -e /var/lib/photoncloud/pki/join-token")
            wait_for(machine, AGENTS)

    with subtest("a guest on each host reaches the others"):
        node01.succeed("photon-e2e nodes --expect node01,node02,node03 --wait 300", timeout=1800)

    with subtest("the tenant path across hosts"):
        node01.succeed("photon-e2e --spread tenant-path", timeout=1800)

    with subtest("tenants go on without the control plane"):
        node01.succeed(
            "systemd-run --unit=hold --property=TimeoutStopSec=300 "
            "-E PHOTON_IAM_ENDPOINT -E PHOTON_PRISMNET_ENDPOINT -E PHOTON_PLASMAVMC_ENDPOINT -E PHOTON_CA_FILE "
            "-E PHOTON_GUEST_KERNEL -E PHOTON_GUEST_INITRD "
            "photon-e2e --spread hold --max-interruption 120 --ready-file /run/hold.ready --report /run/hold.json"
        )
        node01.wait_for_file("/run/hold.ready", timeout=900)
        node01.succeed(f"systemctl restart {' '.join(SERVERS)} photon-provisioner")
        wait_for(node01, SERVERS)
        held(node01)

    with subtest("a retired host has no certificate that counts"):
        node01.succeed("photon machine retire node03 --yes-retire node03")
        node03.fail("photon-enrol renew --force")
  '';
}
