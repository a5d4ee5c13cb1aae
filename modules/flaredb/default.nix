# Copies of the stores, made while the servers run.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud;
  inherit (cfg.flaredb) backup;
  table = import ../components/table.nix { inherit lib; };

  photon-backup = pkgs.writeShellApplication {
    name = "photon-backup";
    runtimeInputs = [ pkgs.coreutils ];
    text = builtins.readFile ./backup.sh;
  };
in
{
  imports = [ ../programs ];

  options.photoncloud.flaredb.backup = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether the stores of this host's servers are copied regularly.";
    };
    servers = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = lib.attrNames (lib.intersectAttrs cfg.programs table.servers);
      defaultText = lib.literalMD "the servers that this host runs";
      example = [ "iam-server" ];
      description = "The servers whose stores are copied.";
    };
    directory = lib.mkOption {
      type = lib.types.path;
      default = "/var/backup/photoncloud";
      example = "/mnt/backup/photoncloud";
      description = ''
        Where the copies are, a directory per server. Make it a place that outlives the host's disk: a copy beside
        the store helps against mistakes, not against a dead disk.
      '';
    };
    calendar = lib.mkOption {
      type = lib.types.str;
      default = "hourly";
      example = "*:0/15";
      description = "When, as in systemd.time(7).";
    };
    keep = lib.mkOption {
      type = lib.types.ints.positive;
      default = 48;
      example = 168;
      description = "How many copies of each store are kept.";
    };
  };

  config = lib.mkIf backup.enable {
    assertions = [
      {
        assertion = backup.servers != [ ];
        message = "photoncloud.flaredb.backup is enabled on a host that keeps no store. Remove it, or name the servers in photoncloud.flaredb.backup.servers.";
      }
    ];
    systemd.tmpfiles.rules = [ "d ${backup.directory} 0700 root root -" ];
    systemd.services.photon-backup = {
      description = "Copies of PhotonCloud's stores";
      startAt = backup.calendar;
      after = map (server: "${server}.service") backup.servers;
      environment.PHOTON_BIN = "${cfg.package}/bin";
      serviceConfig = import ./sandbox.nix { inherit lib; } // {
        MemoryHigh = lib.mkDefault "768M";
        MemoryMax = lib.mkDefault "1G";
        TasksMax = lib.mkDefault 1024;
        ExecStart = "${photon-backup}/bin/photon-backup ${backup.directory} ${toString backup.keep} ${lib.concatStringsSep " " backup.servers}";
        ReadWritePaths = [
          "-/var/lib/photoncloud"
          "-/var/lib/private/photoncloud"
          backup.directory
        ];
      };
    };
    systemd.timers.photon-backup.timerConfig = {
      Persistent = true;
      RandomizedDelaySec = "2min";
    };
  };
}
