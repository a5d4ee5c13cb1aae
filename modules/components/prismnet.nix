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
          vpc_connections =
            optional (lib.types.ints.between 0 33554432) 262144
              "Of `photoncloud.fairUse.vpc.connections`.";
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
