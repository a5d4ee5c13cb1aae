# nftables: nothing in but what a role opens.
{ config, lib, ... }:
let
  cfg = config.photoncloud.hardening;
in
{
  options.photoncloud.hardening.firewall.enable = lib.mkOption {
    type = lib.types.bool;
    default = cfg.enable;
    defaultText = lib.literalExpression "config.photoncloud.hardening.enable";
    example = false;
    description = "Whether the host's own firewall drops what nothing of this host has asked for.";
  };

  config = lib.mkIf cfg.firewall.enable {
    networking.nftables = {
      enable = true;
      # Tables of PrismNET's agent are not the host's to flush.
      flushRuleset = false;
    };
    networking.firewall = {
      enable = true;
      # One line a packet would let anybody fill the journal.
      logRefusedConnections = lib.mkDefault false;
    };
  };
}
