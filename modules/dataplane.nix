# What tenants' networks and virtual machines need of the host's kernel, networkd and firewall.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud.dataplane;
  inherit (config.photoncloud) cluster;
  addresses = lib.mapAttrsToList (_: node: node.address) cluster.nodes;
in
{
  imports = [
    ./package.nix
    ./cluster/options.nix
  ];

  options.photoncloud.dataplane = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether this host is made ready for tenants' networks and virtual machines; the agents set it.";
    };
    connections = lib.mkOption {
      type = lib.types.ints.positive;
      default = 1048576;
      example = 4194304;
      description = "How many connections of tenants the host tracks (nf_conntrack_max), each about 320 bytes. Of one VPC no more than `photoncloud.fairUse.vpc.connections`, and of all VPCs together no more than three quarters.";
    };
    neighbours = lib.mkOption {
      type = lib.types.ints.positive;
      default = 16384;
      example = 65536;
      description = "How many neighbours the host knows at most (neigh.default.gc_thresh3): tenants' addresses of all its networks.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = config.systemd.network.enable;
        message = "photoncloud.dataplane: systemd-networkd makes tenants' networks. Write systemd.network.enable = true.";
      }
      {
        assertion = !config.networking.networkmanager.enable;
        message = "photoncloud.dataplane: NetworkManager would take tenants' interfaces from systemd-networkd. Remove networking.networkmanager.enable.";
      }
      {
        assertion = !config.virtualisation.docker.enable;
        message = "photoncloud.dataplane: Docker turns on br_netfilter and a filter of its own, in which tenants' packets are lost. Remove virtualisation.docker.enable; run containers in a virtual machine.";
      }
    ];

    # The agents may not load modules, so what they would ask for is there before them. KVM's are loaded for the
    # processor that they are for, by its modalias.
    boot.kernelModules = [
      "bridge"
      "nf_conntrack"
      "nf_conntrack_bridge"
      "nf_tables"
      "nf_nat"
      "nft_chain_nat"
      "nft_connlimit"
      "nft_hash"
      "nft_limit"
      "nft_meta_bridge"
      "nft_nat"
      "tun"
      "veth"
      "vrf"
      "vxlan"
    ];

    boot.kernel.sysctl = {
      "net.netfilter.nf_conntrack_max" = cfg.connections;
      "net.ipv4.neigh.default.gc_thresh1" = cfg.neighbours / 4;
      "net.ipv4.neigh.default.gc_thresh2" = cfg.neighbours / 2;
      "net.ipv4.neigh.default.gc_thresh3" = cfg.neighbours;
      "net.ipv6.neigh.default.gc_thresh1" = cfg.neighbours / 4;
      "net.ipv6.neigh.default.gc_thresh2" = cfg.neighbours / 2;
      "net.ipv6.neigh.default.gc_thresh3" = cfg.neighbours;
    };

    # It answers tenants' DHCP and holds their gateways: a tenant would notice it gone. It takes changed .network files by
    # reload; a new systemd-networkd serves from the host's next boot on, or from a restart by the operator's hand.
    systemd.services.systemd-networkd.restartIfChanged = false;

    # Filters of PrismNET's agent stand beside the host's: reloading the host's must leave them.
    networking.nftables = {
      enable = true;
      flushRuleset = false;
    };
    networking.firewall = {
      enable = true;
      # Tenants' packets are routed in VRFs, of which the check knows nothing. PrismNET holds each port to its addresses.
      checkReversePath = false;
      # `table inet photon` of the agent has already refused what a guest may not ask of the host.
      extraInputRules = ''
        iifname "pb*" udp dport 67 accept comment "tenants' DHCP"
        iifname "pv*" udp dport 67 accept comment "tenants' DHCP"
        iifname "pb*" meta l4proto { tcp, udp } th dport 53 accept comment "tenants' resolver"
        iifname "pv*" meta l4proto { tcp, udp } th dport 53 accept comment "tenants' resolver"
        iifname "pb*" ip daddr 169.254.169.254 tcp dport 80 accept comment "tenants' metadata"
        iifname "pv*" ip daddr 169.254.169.254 tcp dport 80 accept comment "tenants' metadata"
      ''
      + lib.optionalString (addresses != [ ]) ''
        ip saddr { ${lib.concatStringsSep ", " addresses} } udp dport 4789 accept comment "tenants' networks between hosts"
      '';
    };

    # A virtual machine runs on through an upgrade, and its unit names the QEMU and the agent that it was started with:
    # garbage collection must not take them while it may live, which is until the next boot.
    systemd.tmpfiles.rules = [
      "d /nix/var/nix/gcroots/photoncloud 0755 root root -"
      "R! /nix/var/nix/gcroots/photoncloud/*"
    ]
    ++
      map
        (
          package:
          "L+ /nix/var/nix/gcroots/photoncloud/${
            builtins.substring 0 32 (baseNameOf "${package}")
          } - - - - ${package}"
        )
        [
          config.photoncloud.package
          pkgs.qemu_kvm
        ];
  };
}
