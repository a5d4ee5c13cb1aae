# A blank machine netboots from node01's boot server, waits for approval, is installed by nixos-anywhere, boots from its
# disk and is ready; and one that nobody approves gets the public image and nothing else.
{
  lib,
  pkgs,
  self,
  support,
  ...
}:
let
  # node02 of the example rack with this test's disk, as an operator would have it.
  installed =
    (self.lib.hosts {
      shared = [
        ../hosts/cluster.nix
        ../hosts/hardware.nix
        ../hosts/operators.nix
        {
          photoncloud.disks.system = "/dev/vda";
          # Firmware of devices that an emulated machine has not.
          hardware.enableRedistributableFirmware = lib.mkForce false;
        }
      ];
      hosts.node02 = ../hosts/node02.nix;
    }).node02.config.system.build;

  # The test's machines reach no cache and evaluate no flake: the installer gets what evaluation of it gave here.
  withoutEvaluation = ''
    arguments=()
    while [ $# -gt 0 ]; do
      case $1 in
        --flake)
          test "$2" = /etc/nixos#node02
          arguments+=(--store-paths ${installed.diskoScript} ${installed.toplevel})
          shift 2
          ;;
        *)
          arguments+=("$1")
          shift
          ;;
      esac
    done
    exec ${self.packages.x86_64-linux.nixos-anywhere-installer}/bin/nixos-anywhere \
      --no-substitute-on-destination "''${arguments[@]}"
  '';

  # A machine with firmware, an empty disk and a network interface, and nothing else.
  bare =
    number:
    pkgs.writeShellScript "bare-${toString number}" ''
      set -eu
      mkdir -p bare-${toString number}
      cd bare-${toString number}
      if ! test -e disk.qcow2; then
        ${pkgs.qemu_test}/bin/qemu-img create -q -f qcow2 disk.qcow2 16G
        install -m 600 ${pkgs.OVMF.fd}/FV/OVMF_VARS.fd variables.fd
      fi
      exec ${pkgs.qemu_test}/bin/qemu-system-x86_64 \
        -machine q35,accel=kvm:tcg -cpu max -smp 2 -m 6144 \
        -drive if=pflash,format=raw,unit=0,readonly=on,file=${pkgs.OVMF.fd}/FV/OVMF_CODE.fd \
        -drive if=pflash,format=raw,unit=1,file=variables.fd \
        -smbios type=1,serial=PC${toString number},uuid=00000000-0000-4000-8000-00000000000${toString number} \
        -netdev vde,id=n0,sock="$QEMU_VDE_SOCKET_1" \
        -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:0${toString number},bootindex=1 \
        -drive if=none,id=d0,file=disk.qcow2,format=qcow2 \
        -device virtio-blk-pci,drive=d0,bootindex=2 \
        "$@"
    '';
in
{
  name = "netboot";
  # What is waited for below, added up; the driver's own hour is less.
  globalTimeout = 4 * 3600;

  nodes.node01 = {
    imports = [
      (support.node "node01")
      (support.installing withoutEvaluation)
    ];
    virtualisation.diskSize = lib.mkForce 16384;
    system.extraDependencies = [
      installed.diskoScript
      installed.toplevel
    ];
  };

  testScript = ''
    ${support.prelude}
    node01.start()
    wait_for(node01, SERVERS + ["photon-provisioner", "photon-boot-server"])
    node01.wait_for_open_port(8089, "192.0.2.1")
    node01.succeed(
        "photon login operator --password-file /var/lib/photoncloud/credentials/operator-password"
    )

    wanted = create_machine("${bare 2}", name="wanted")
    stranger = create_machine("${bare 9}", name="stranger")
    wanted.start(allow_reboot=True)
    stranger.start(allow_reboot=True)

    with subtest("both report what they are made of"):
        for mac in "52:54:00:00:00:02", "52:54:00:00:00:09":
            node01.wait_until_succeeds(f"photon machine show {mac} | grep -i discovered", timeout=1200)
            node01.succeed(f"photon machine show {mac} | grep /dev/vda")

    with subtest("approval asks for the name"):
        node01.fail("photon machine approve 52:54:00:00:00:02 --name node02 < /dev/null")
        node01.fail("photon machine approve 52:54:00:00:00:02 --name node02 --yes-wipe node03")
        node01.succeed("photon machine approve 52:54:00:00:00:02 --name node02 --yes-wipe node02")

    with subtest("it is installed and ready by itself"):
        node01.succeed("photon machine watch node02 --timeout 3600 >&2", timeout=3700)
        node01.wait_until_succeeds("photon node list | grep node02", timeout=120)

    with subtest("it boots from its disk, and is ready again"):
        wanted.crash()
        wanted.start(allow_reboot=True)
        # Not its prompt: the driver reads whole lines, and a prompt ends none. The netboot image has no such target.
        wanted.wait_for_console_text(r"Reached target .*(PhotonCloud|photon\.target)", timeout=600)
        node01.succeed("photon machine show node02 | grep -i ready")

    with subtest("a machine that nobody approved has got nothing"):
        node01.succeed("photon machine show 52:54:00:00:00:09 | grep -i discovered")
        node01.fail("photon node list | grep -v node0")

    with subtest("its certificate ends with it"):
        node01.succeed("photon machine retire node02 --yes-retire node02")
        node01.wait_until_fails("photon principal list | grep plasmavmc-agent@node02")

    # The driver ends its own machines alone, and would wait for these for ever.
    wanted.crash()
    stranger.crash()
  '';
}
