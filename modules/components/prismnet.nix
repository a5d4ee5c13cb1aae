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
          metadata =
            optional lib.types.bool false
              "Whether guests are let through to plasmavmc-metadata, at 169.254.169.254; `photoncloud.plasmavmc.metadata.enable` sets it. Null: true.";
          port_queries_per_second =
            optional (lib.types.ints.between 0 100000000) 5000
              "Of `photoncloud.fairUse.port.queriesPerSecond`.";
          vpc_connections =
            optional (lib.types.ints.between 0 33554432) 262144
              "Of `photoncloud.fairUse.vpc.connections`.";
          external_interfaces =
            optional (lib.types.attrsOf lib.types.str) { uplink = "enp3s0.100"; }
              "This host's interface, or VLAN, in each external network, by that one's name. The cloud has it alone: the host has no address on it. NAT gateways are on hosts that have one.";
          protected_networks =
            optional (lib.types.listOf lib.types.str) [ "192.0.2.0/24" ]
              "Networks that no guest reaches by a NAT gateway: the cluster's own, and whatever else of the operator's the router leads to.";
          nat_connections =
            optional (lib.types.ints.between 0 2147483647) 16128
              "How many connections one guest may have by a NAT gateway; 0: any number. Null: 32256, half of what one address carries to one destination.";
          underlay_mtu =
            optional (lib.types.ints.between 1330 65521) 9000
              "The largest packet that the network between hosts carries, in bytes, on all hosts the same; guests' are by 50 smaller, see `photoncloud.plasmavmc.settings.plasmavmc.guest_mtu`. Null: 1500.";
        };
        example.metrics_listen = "off";
        path = pkgs: [
          pkgs.nftables
          pkgs.conntrack-tools
          pkgs.iproute2
          pkgs.iputils
        ];
      };
    })
  ];
}
