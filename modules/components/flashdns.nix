# Names: flashdns-server, the agent that answers the guests of a host, and Unbound beside it where guests may ask for names of
# the Internet.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud.flashdns;
  inherit (config.photoncloud) cluster;
  # Where the agent asks. Not port 53, which may be that of the host's own resolver.
  address = "127.0.0.1";
  port = 5335;
  hosts = lib.mapAttrsToList (_: node: node.address) cluster.nodes;

  # unbound.conf(5).
  configuration = pkgs.writeText "photon-unbound.conf" (
    lib.concatLines (
      [
        "server:"
        "  interface: ${address}@${toString port}"
        "  access-control: ${address}/32 allow"
        ''username: ""''
        ''chroot: ""''
        ''directory: ""''
        ''pidfile: ""''
        ''logfile: ""''
        "  use-syslog: no"
        "  do-daemonize: no"
        ''trust-anchor-file: "${pkgs.dns-root-data}/root.key"''
        "  hide-identity: yes"
        "  hide-version: yes"
        "  max-udp-size: 1232"
        "  prefetch: yes"
      ]
      # Who gives a name to a host of the cluster would have guests' programs ask it (DNS rebinding).
      ++ map (host: "  private-address: ${host}") hosts
      ++ lib.optionals (cfg.forwarding.servers != [ ]) (
        [
          "forward-zone:"
          ''name: "."''
        ]
        ++ map (server: "  forward-addr: ${server}") cfg.forwarding.servers
      )
    )
  );
in
{
  imports = [
    ../cluster/options.nix
    (import ./module.nix {
      name = "flashdns";
      server = {
        description = "Whether this host runs flashdns-server, which tells hosts what their guests' names are.";
        own = optional: {
          suffix =
            optional lib.types.str "cloud.example.com"
              "What the names of all virtual machines end with, at least two labels. Guests know it: set it once, before there are any. Null: cloud.internal.";
        };
        example.flashdns.suffix = "cloud.example.com";
      };
      agent = {
        description = "Whether this host runs flashdns-agent, which answers the names that its guests ask for. Without it, turn `photoncloud.prismnet.agent.settings.prismnet-agent.resolver` off too.";
        own = optional: {
          queries_per_second =
            optional (lib.types.ints.between 0 1000000) 1000
              "How many questions of one address are answered per second, and twice as many at once after a rest; 0: all.";
          upstream =
            optional lib.types.str "127.0.0.1:5335"
              "A resolver on this host that names of the Internet are asked of; `photoncloud.flashdns.forwarding` sets it. Null: they are refused.";
          denied_suffixes = optional (lib.types.listOf lib.types.str) [
            "rack.example"
          ] "Domains that it is never asked for, as the operator's own. Null: none.";
        };
        example.flashdns-agent.queries_per_second = 5000;
      };
    })
  ];

  options.photoncloud.flashdns.forwarding = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether guests of this host may ask for names of the Internet. Unbound, on the host's loopback, asks for them, caches and validates (DNSSEC).";
    };
    servers = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "9.9.9.9" ];
      description = "Resolvers that Unbound asks; empty: it asks the name servers of the Internet itself.";
    };
  };

  config = lib.mkIf cfg.forwarding.enable {
    photoncloud.flashdns.agent.settings.flashdns-agent.upstream =
      lib.mkDefault "${address}:${toString port}";
    systemd.services.photon-unbound = {
      description = "Names of the Internet, for the guests of this host";
      wantedBy = [ "photon.target" ];
      partOf = [ "photon.target" ];
      after = [ "network.target" ];
      serviceConfig = {
        ExecStart = "${pkgs.unbound}/bin/unbound -d -c ${configuration}";
        Restart = "always";
        RestartSec = "1s";
        DynamicUser = true;
        CapabilityBoundingSet = "";
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateTmp = true;
        PrivateDevices = true;
        ProtectKernelTunables = true;
        ProtectKernelModules = true;
        ProtectControlGroups = true;
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
        ];
        RestrictNamespaces = true;
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
        MemoryMax = "512M";
        TasksMax = 64;
      };
    };
  };
}
