# The host's own address, by systemd-networkd.
{ config, lib, ... }:
let
  cfg = config.photoncloud;
  inherit (cfg) cluster;
  network = import ./network.nix { inherit lib; };
  self = cluster.nodes.${cfg.node} or null;
  parsed = if cluster.network == null then null else network.parseNetwork cluster.network;
in
{
  config = lib.mkIf (self != null && parsed != null) {
    networking.useNetworkd = true;
    networking.useDHCP = false;
    systemd.network = {
      enable = true;
      networks."10-photoncloud" = {
        matchConfig = if self.mac != null then { MACAddress = self.mac; } else { Name = self.interface; };
        address = [ "${self.address}/${toString parsed.prefix}" ];
        gateway = lib.optional (cluster.gateway != null) cluster.gateway;
        inherit (cluster) dns;
        networkConfig = {
          LinkLocalAddressing = "no";
          IPv6AcceptRA = false;
        };
      };
    };
  };
}
