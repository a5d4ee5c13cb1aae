# A switch to other programs and units, and back, while guests ping each other and a client writes: no virtual machine is
# restarted, no acknowledged write is lost, and the API is away for less than 5 s.
{
  lib,
  pkgs,
  self,
  support,
  ...
}:
let
  current = self.packages.x86_64-linux.photoncloud;

  # The same programs at another place in the store: what a switch sees as new. Another schema of the store is what the
  # rack's test brings.
  next =
    pkgs.runCommand "photoncloud-next"
      {
        inherit (current) meta passthru;
      }
      ''
        cp -r ${current} $out
        chmod -R u+w $out
        sed -i "s|${current}|$out|g" $out/lib/systemd/system/*
      '';

  cloud = {
    imports = [
      support.machine
      ../hosts/all-in-one.nix
      ../hosts/operators.nix
    ];
    networking.hostName = "cloud";
    system.switch.enable = true;
    virtualisation.vlans = [ ];
  };
in
{
  name = "upgrade";
  # What is waited for below, added up; the driver's own hour is less.
  globalTimeout = 4 * 3600;

  nodes = {
    inherit cloud;
    # Never started: what cloud is switched to.
    upgraded = {
      imports = [ cloud ];
      photoncloud.package = lib.mkForce next;
    };
  };

  testScript =
    { nodes, ... }:
    let
      before = nodes.cloud.system.build.toplevel;
      after = nodes.upgraded.system.build.toplevel;
    in
    ''
      ${support.prelude}
      cloud.start()
      wait_for(cloud, SERVERS + AGENTS)

      def programs():
          paths = set()
          for program in SERVERS + AGENTS:
              pid = cloud.succeed(f"systemctl show -P MainPID {program}").strip()
              paths.add(cloud.succeed(f"readlink /proc/{pid}/exe").split("/bin/")[0])
          return paths

      def guests():
          units = cloud.succeed("systemctl list-units --no-legend --plain 'photon-vm-*.service' | cut -d' ' -f1").split()
          return {unit: cloud.succeed(f"systemctl show -P MainPID -P InvocationID {unit}") for unit in units}

      cloud.succeed(
          "systemd-run --unit=hold --property=TimeoutStopSec=300 "
          "-E PHOTON_GUEST_KERNEL -E PHOTON_GUEST_INITRD "
          "photon-e2e hold --max-interruption 5 --ready-file /run/hold.ready --report /run/hold.json"
      )
      cloud.wait_for_file("/run/hold.ready", timeout=900)
      assert programs() == {"${current}"}
      running = guests()
      assert len(running) == 2, running

      with subtest("the upgrade"):
          cloud.succeed("${after}/bin/switch-to-configuration test >&2")
          wait_for(cloud, SERVERS + AGENTS)
          assert programs() == {"${next}"}
          assert guests() == running

      with subtest("the way back"):
          cloud.succeed("${before}/bin/switch-to-configuration test >&2")
          wait_for(cloud, SERVERS + AGENTS)
          assert programs() == {"${current}"}
          assert guests() == running

      with subtest("nobody noticed"):
          assert held(cloud)["interruption_seconds"] < 5
    '';
}
