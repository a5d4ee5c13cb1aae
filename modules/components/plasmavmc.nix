# Images and virtual machines: plasmavmc-server, and the agent that every host with virtual machines runs.
{ config, lib, ... }:
let
  cfg = config.photoncloud.plasmavmc;
in
{
  imports = [
    (import ./module.nix {
      name = "plasmavmc";
      server = {
        description = "Whether this host runs plasmavmc-server, and keeps its store and the images.";
        own = optional: {
          image_max_bytes =
            optional lib.types.ints.positive 68719476736
              "The most that one import may have, all of its files together, in bytes.";
          image_quota_bytes =
            optional lib.types.ints.positive 274877906944
              "The most that the images of one project may have together, in bytes.";
          vcpu_overcommit =
            optional (lib.types.ints.between 1 64) 4
              "How many vCPUs are promised for each CPU of a host.";
          disk_overcommit =
            optional (lib.types.ints.between 1 64) 2
              "How many times the size of a host's file system is promised to disks, which take what was written to them.";
          node_timeout_seconds =
            optional (lib.types.ints.between 1 3600) 30
              "A host that has not been heard of for so many seconds gets no new virtual machines.";
          image_networks = optional (lib.types.listOf lib.types.str) [
            "192.0.2.0/24"
          ] "Networks beside the internet that images may be fetched from by their URL.";
          guest_mtu =
            optional (lib.types.ints.between 1280 65485) 1450
              "MTU of guests' interfaces: the hosts' own, less the 50 bytes that VXLAN needs over IPv4 (RFC 7348). A guest keeps that with which it was made.";
        };
        example.plasmavmc.vcpu_overcommit = 2;
      };
      agent = {
        description = "Whether this host runs plasmavmc-agent, which gives tenants' virtual machines to systemd.";
        own = optional: {
          qemu =
            optional lib.types.str "/run/current-system/sw/bin/qemu-system-x86_64"
              "QEMU's program: a path, or a name in the unit's PATH.";
          qemu_img = optional lib.types.str "qemu-img" "qemu-img's, the same way.";
          accelerator = optional (lib.types.enum [
            "kvm"
            "tcg"
          ]) "kvm" "How guests' instructions are run; null: what works, found out by trying.";
          reserved_memory_mib =
            optional lib.types.ints.unsigned 2048
              "Memory of the host that is not for virtual machines, in MiB.";
          nested_virtualization =
            optional lib.types.bool true
              "Whether guests may run guests of their own: docs/SECURITY.md says why they may not by default. It holds for virtual machines that are started from then on.";
          disk_bytes_per_second =
            optional lib.types.ints.unsigned 1073741824
              "Of `photoncloud.fairUse.disk.bytesPerSecond`.";
          disk_operations_per_second =
            optional lib.types.ints.unsigned 50000
              "Of `photoncloud.fairUse.disk.operationsPerSecond`.";
          disk_burst_seconds =
            optional (lib.types.ints.between 0 60) 30
              "Of `photoncloud.fairUse.disk.burstSeconds`.";
        };
        example.plasmavmc-agent.reserved_memory_mib = 4096;
        path = pkgs: [ pkgs.qemu_kvm ];
      };
    })
  ];

  options.photoncloud.plasmavmc.metadata.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    example = false;
    description = "Whether guests of this host are told what they are, at 169.254.169.254, by plasmavmc-metadata; a virtual machine's owner may still have it told nothing.";
  };

  config = lib.mkMerge [
    (lib.mkIf (cfg.agent.enable && cfg.metadata.enable) {
      # Who reads what plasmavmc-agent writes for it.
      users.groups.photoncloud-metadata = { };
      systemd.services.plasmavmc-metadata.wantedBy = [ "photon.target" ];
      # Of its /metrics.
      photoncloud.reservedPorts = [ 51184 ];
    })
    # Else guests would be let through to nobody.
    (lib.mkIf (!cfg.metadata.enable) {
      photoncloud.prismnet.agent.settings.prismnet-agent.metadata = lib.mkDefault false;
    })
  ];
}
