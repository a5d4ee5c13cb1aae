# A host whose kernel or systemd hangs is started again by its watchdog.
{ config, lib, ... }:
let
  cfg = config.photoncloud.hardening;
in
{
  options.photoncloud.hardening.watchdog = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = cfg.enable;
      defaultText = lib.literalExpression "config.photoncloud.hardening.enable";
      example = false;
      description = "Whether systemd feeds the machine's watchdog. A machine without one is left as it is.";
    };
    time = lib.mkOption {
      type = lib.types.str;
      default = "30s";
      example = "1min";
      description = "After how long without a sign of life the machine is reset, a time span of systemd.time(7).";
    };
  };

  config = lib.mkIf cfg.watchdog.enable {
    systemd.settings.Manager = {
      RuntimeWatchdogSec = cfg.watchdog.time;
      RebootWatchdogSec = "5min";
    };
  };
}
