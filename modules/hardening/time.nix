# Tokens, certificates and the event log stand and fall with the clock.
{ config, lib, ... }:
let
  cfg = config.photoncloud.hardening;
in
{
  options.photoncloud.hardening.time = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = cfg.enable;
      defaultText = lib.literalExpression "config.photoncloud.hardening.enable";
      example = false;
      description = "Whether the host keeps its clock by NTP, in UTC.";
    };
    servers = lib.mkOption {
      type = lib.types.nullOr (lib.types.listOf lib.types.str);
      default = null;
      example = [ "192.0.2.254" ];
      description = "NTP servers; null: those of NixOS, which a rack without a way out cannot reach.";
    };
  };

  config = lib.mkIf cfg.time.enable {
    time.timeZone = lib.mkDefault "UTC";
    services.timesyncd = {
      enable = true;
      servers = lib.mkIf (cfg.time.servers != null) cfg.time.servers;
    };
  };
}
