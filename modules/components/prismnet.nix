# Networks: prismnet-server, and the agent that every host with tenants runs.
{ lib, ... }:
{
  imports = [
    (import ./module.nix {
      name = "prismnet";
      server = {
        description = "Whether this host runs prismnet-server, and keeps its store.";
        example.limits.calls = 8192;
      };
      agent = {
        description = "Whether this host runs prismnet-agent, which makes tenants' networks on it.";
        own = optional: {
          port_bytes_per_second =
            optional (lib.types.ints.between 0 16000000000) 1250000000
              "Of `photoncloud.fairUse.port.bytesPerSecond`.";
          port_packets_per_second =
            optional (lib.types.ints.between 0 100000000) 1000000
              "Of `photoncloud.fairUse.port.packetsPerSecond`.";
          resolver =
            optional lib.types.bool false
              "Whether guests have a resolver at their gateways, as where `photoncloud.flashdns.agent` runs; subnets without name servers tell guests of it. Null: true.";
          port_queries_per_second =
            optional (lib.types.ints.between 0 100000000) 5000
              "Of `photoncloud.fairUse.port.queriesPerSecond`.";
          vpc_connections =
            optional (lib.types.ints.between 0 33554432) 262144
              "Of `photoncloud.fairUse.vpc.connections`.";
          underlay_mtu =
            optional (lib.types.ints.between 1330 65521) 9000
              "The largest packet that the network between hosts carries, in bytes, on all hosts the same; guests' are by 50 smaller, see `photoncloud.plasmavmc.settings.plasmavmc.guest_mtu`. Null: 1500.";
        };
        example.metrics_listen = "off";
        path = pkgs: [
          pkgs.nftables
          pkgs.conntrack-tools
        ];
      };
    })
  ];
}
