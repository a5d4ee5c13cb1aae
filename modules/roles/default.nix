# What a host is for. Each role turns on the services that it takes.
{ config, lib, ... }:
let
  cfg = config.photoncloud;
  inherit (cfg) roles;
  table = import ../components/table.nix { inherit lib; };

  role =
    description:
    lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      inherit description;
    };
  # The programs that a role is of run on its hosts.
  programsOf =
    role:
    lib.mkMerge (
      lib.mapAttrsToList (
        _: program: lib.setAttrByPath (program.option ++ [ "enable" ]) (lib.mkDefault true)
      ) (table.ofRole role)
    );
  isControlPlane = roles.controlPlane.enable || roles.allInOne.enable;
  isCompute = roles.compute.enable || roles.allInOne.enable;
in
{
  imports = [
    ../cluster
    ../chainfire.nix
    ../disks.nix
    ../fair-use.nix
    ../flaredb
    ../hardening
    ../images.nix
  ];

  options.photoncloud.roles = {
    controlPlane.enable = role "Whether this host serves the cloud's API: identities, networks, virtual machines. Written in `photoncloud.cluster.nodes.<host>.roles`.";
    compute.enable = role "Whether this host runs tenants' virtual machines and networks. Written in `photoncloud.cluster.nodes.<host>.roles`.";
    storage.enable = role "Whether this host keeps tenants' volumes. No service does so yet: turning it on fails, and says so.";
    allInOne.enable = role "Whether this host is a whole cloud by itself, its API on the loopback address alone. It is in no cluster.";
  };

  config = lib.mkMerge [
    (lib.mkIf isControlPlane {
      photoncloud = lib.mkMerge [
        (programsOf "controlPlane")
        {
          flaredb.backup.enable = lib.mkDefault true;
          chainfire.verify.enable = lib.mkDefault true;
        }
      ];
    })
    (lib.mkIf isCompute {
      photoncloud = programsOf "compute";
      systemd.network.enable = true;
      networking.useNetworkd = true;
    })
    (lib.mkIf roles.controlPlane.enable {
      # The API is for tenants, wherever they are; it speaks TLS.
      networking.firewall.allowedTCPPorts = map (server: cfg.${server.component.name}.settings.port) (
        lib.filter (program: program.kind == "server") (lib.attrValues (table.ofRole "controlPlane"))
      );
    })
    (lib.mkIf (isControlPlane || isCompute) {
      photoncloud.hardening.enable = lib.mkDefault true;
    })
  ];
}
