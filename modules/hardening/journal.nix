# The journal is kept, and cannot fill the disk.
{ config, lib, ... }:
let
  cfg = config.photoncloud.hardening;
in
{
  options.photoncloud.hardening.journal = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = cfg.enable;
      defaultText = lib.literalExpression "config.photoncloud.hardening.enable";
      example = false;
      description = "Whether the journal is bounded.";
    };
    size = lib.mkOption {
      type = lib.types.strMatching "[1-9][0-9]*[KMGT]";
      default = "4G";
      example = "16G";
      description = "How much of the disk the journal may take (SystemMaxUse of journald.conf(5)).";
    };
    keep = lib.mkOption {
      type = lib.types.str;
      default = "90day";
      example = "1year";
      description = "How long entries are kept, a time span of systemd.time(7).";
    };
  };

  config = lib.mkIf cfg.journal.enable {
    # NixOS 26.11 removes these three for `settings.Journal`, which 26.05 has not.
    services.journald = {
      rateLimitBurst = lib.mkDefault 20000;
      rateLimitInterval = lib.mkDefault "30s";
      extraConfig = ''
        Storage=persistent
        SystemMaxUse=${cfg.journal.size}
        SystemKeepFree=1G
        MaxRetentionSec=${cfg.journal.keep}
      '';
    };
    # Core dumps would hold tokens and keys.
    systemd.coredump.enable = lib.mkDefault false;
  };
}
