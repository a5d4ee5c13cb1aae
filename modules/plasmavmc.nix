# Images and virtual machines: plasmavmc-server, and the agent that every host with virtual machines runs.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud.plasmavmc;
  types = import ./programs/settings.nix { inherit lib pkgs; };
in
{
  imports = [
    ./programs
    ./dataplane.nix
  ];

  options.photoncloud.plasmavmc = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether this host runs plasmavmc-server, and keeps its store and the images.";
    };
    settings = lib.mkOption {
      type = types.server {
        section = "plasmavmc";
        port = 50082;
        own = {
          image_max_bytes =
            types.optional lib.types.ints.positive 68719476736
              "The most that one import may have, all of its files together, in bytes.";
          image_quota_bytes =
            types.optional lib.types.ints.positive 274877906944
              "The most that the images of one project may have together, in bytes.";
          vcpu_overcommit =
            types.optional (lib.types.ints.between 1 64) 4
              "How many vCPUs are promised for each CPU of a host.";
          node_timeout_seconds =
            types.optional (lib.types.ints.between 1 3600) 30
              "A host that has not been heard of for so many seconds gets no new virtual machines.";
          guest_mtu =
            types.optional (lib.types.ints.between 1280 65485) 1450
              "MTU of guests' interfaces: the hosts' own, less the 50 bytes that VXLAN needs over IPv4 (RFC 7348).";
        };
      };
      default = { };
      example = {
        plasmavmc.vcpu_overcommit = 2;
      };
      description = "Settings of plasmavmc-server: /etc/photoncloud/plasmavmc-server.toml.";
    };
    agent.enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether this host runs plasmavmc-agent, which gives tenants' virtual machines to systemd.";
    };
    agent.settings = lib.mkOption {
      type = types.agent {
        section = "plasmavmc-agent";
        own = {
          qemu =
            types.optional lib.types.str "/run/current-system/sw/bin/qemu-system-x86_64"
              "QEMU's program: a path, or a name in the unit's PATH.";
          qemu_img = types.optional lib.types.str "qemu-img" "qemu-img's, the same way.";
          accelerator = types.optional (lib.types.enum [
            "kvm"
            "tcg"
          ]) "kvm" "How guests' instructions are run; null: what works, found out by trying.";
          reserved_memory_mib =
            types.optional lib.types.ints.unsigned 2048
              "Memory of the host that is not for virtual machines, in MiB.";
        };
      };
      default = { };
      example = {
        plasmavmc-agent.reserved_memory_mib = 4096;
      };
      description = "Settings of plasmavmc-agent: /etc/photoncloud/plasmavmc-agent.toml.";
    };
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      photoncloud.programs.plasmavmc-server.settings = cfg.settings;
    })
    (lib.mkIf cfg.agent.enable {
      photoncloud.dataplane.enable = true;
      photoncloud.programs.plasmavmc-agent = {
        settings = cfg.agent.settings;
        path = [
          pkgs.qemu_kvm
        ];
      };
    })
  ];
}
