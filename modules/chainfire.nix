# Proofs of the event logs, taken regularly.
{ config, lib, ... }:
let
  cfg = config.photoncloud;
  inherit (cfg.chainfire) verify;
  table = import ./components/table.nix { inherit lib; };
in
{
  imports = [ ./programs ];

  options.photoncloud.chainfire.verify = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether the servers' stores and the chains of events in them are verified regularly; a broken one is a failed unit.";
    };
    servers = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = lib.attrNames (lib.intersectAttrs cfg.programs table.servers);
      defaultText = lib.literalMD "the servers that this host runs";
      example = [ "iam-server" ];
      description = "The servers whose stores are verified.";
    };
    calendar = lib.mkOption {
      type = lib.types.str;
      default = "daily";
      example = "weekly";
      description = "When, as in systemd.time(7).";
    };
  };

  config = lib.mkIf verify.enable {
    assertions = [
      {
        assertion = verify.servers != [ ];
        message = "photoncloud.chainfire.verify is enabled on a host that keeps no store. Remove it, or name the servers in photoncloud.chainfire.verify.servers.";
      }
    ];
    systemd.services.photon-verify = {
      description = "Proofs of PhotonCloud's stores and event logs";
      startAt = verify.calendar;
      after = map (server: "${server}.service") verify.servers;
      serviceConfig = import ./flaredb/sandbox.nix { inherit lib; } // {
        MemoryHigh = lib.mkDefault "1536M";
        MemoryMax = lib.mkDefault "2G";
        TasksMax = lib.mkDefault 1024;
        ExecStart = map (server: "${cfg.package}/bin/${server} verify") verify.servers;
        ReadWritePaths = [
          "-/var/lib/photoncloud"
          "-/var/lib/private/photoncloud"
        ];
      };
    };
    systemd.timers.photon-verify.timerConfig = {
      Persistent = true;
      RandomizedDelaySec = "10min";
    };
  };
}
