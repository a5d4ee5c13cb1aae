# What the NixOS tests have in common.
{
  lib,
  pkgs,
  self,
}:
let
  table = import ../../modules/components/table.nix { inherit lib; };
in
rec {
  guest = import ./guest.nix { inherit lib pkgs; };

  # Keys that everybody knows, of nixpkgs' own tests.
  sshKeys = import (pkgs.path + "/nixos/tests/ssh-keys.nix") pkgs;

  # Every machine of a test: PhotonCloud, the guest to try it with, and room for that guest under an emulated processor,
  # because nested virtualisation is not everywhere.
  machine = {
    imports = [ self.nixosModules.default ];
    virtualisation = {
      cores = 2;
      memorySize = 4096;
      diskSize = 8192;
      qemu.options = [
        "-cpu"
        "max"
      ];
    };
    environment.variables = {
      PHOTON_GUEST_KERNEL = guest.kernel;
      PHOTON_GUEST_INITRD = guest.initrd;
    };
  };

  # A host of the example cluster, without its hardware: the test driver brings that. The first network interface is
  # the driver's own, the second the cluster's.
  node = name: {
    imports = [
      machine
      ../../hosts/cluster.nix
      ../../hosts/operators.nix
      (../../hosts + "/${name}.nix")
    ];
    networking.hostName = name;
    virtualisation.vlans = [ 1 ];
    # QEMU's own address is that of every machine, and a machine is known by its addresses.
    virtualisation.qemu.networkingOptions = lib.mkForce [
      "-net nic,netdev=user.0,model=virtio,macaddr=52:54:00:12:35:${lib.removePrefix "node" name}"
      "-netdev user,id=user.0"
    ];
    photoncloud.cluster.nodes =
      lib.genAttrs
        [
          "node01"
          "node02"
          "node03"
        ]
        (_: {
          interface = "eth1";
        });
    users.users.root.openssh.authorizedKeys.keys = [ sshKeys.snakeOilPublicKey ];
  };

  # node01 where `nixos-anywhere` is something else, which a test gives the text of.
  installing = text: {
    photoncloud.bootServer.interface = lib.mkForce "eth1";
    photoncloud.provisioner = {
      installer = pkgs.writeShellApplication {
        name = "nixos-anywhere";
        runtimeInputs = [ pkgs.openssh ];
        inherit text;
      };
      settings.provisioner = {
        ssh_key = lib.mkForce "/var/lib/photoncloud/installer/ssh-key";
        ssh_public_key = lib.mkForce sshKeys.snakeOilPublicKey;
      };
    };
    systemd.tmpfiles.rules = [
      "d /var/lib/photoncloud/installer 0700 root root -"
      "C /var/lib/photoncloud/installer/ssh-key 0600 root root - ${sshKeys.snakeOilPrivateKey}"
    ];
  };

  # What each test's script begins with.
  prelude = ''
    import json

    SERVERS = ${builtins.toJSON (lib.attrNames (table.ofRole "controlPlane"))}
    AGENTS = ${builtins.toJSON (lib.attrNames (table.ofRole "compute"))}


    def wait_for(machine, programs):
        """Until PhotonCloud's programs run on a machine."""
        machine.wait_for_unit("photon.target")
        for program in programs:
            machine.wait_for_unit(f"{program}.service")


    def held(machine):
        """What `photon-e2e hold` saw, which must be that nobody was disturbed."""
        machine.succeed("systemctl stop hold")
        seen = json.loads(machine.succeed("cat /run/hold.json"))
        print(seen)
        assert seen["ok"] and not seen["rebooted"] and seen["lost"] == []
        return seen
  '';
}
