# What machines netboot from: addresses by DHCP (or beside another DHCP server), iPXE by TFTP, and from there on the
# provisioner's boot listener by HTTP. All of it is dnsmasq with one file, /etc/dnsmasq.conf, which the rack's tests serve
# as it is. Not by services.dnsmasq: that is a resolver for the host, starts as root, and is closed in by less.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud.bootServer;
  inherit (config.photoncloud) cluster node provisioner;
  self = cluster.nodes.${node} or null;
  ipv4 = import ../cluster/network.nix { inherit lib; };
  network = if cluster.network == null then null else ipv4.parseNetwork cluster.network;

  # 3221225984 -> "192.0.2.0"
  dotted =
    number:
    lib.concatMapStringsSep "." (shift: toString (lib.mod (number / shift) 256)) [
      16777216
      65536
      256
      1
    ];
  netmask = dotted (4294967296 - network.size);

  # Loaders by TFTP; pkgs.ipxe has no BIOS loader on a host that is no PC.
  files = pkgs.linkFarm "photon-ipxe" (
    lib.optional pkgs.stdenv.hostPlatform.isx86 {
      name = "lib/ipxe/undionly.kpxe";
      path = "${cfg.ipxe}/undionly.kpxe";
    }
    ++ [
      {
        name = "lib/ipxe/ipxe.efi";
        path = "${cfg.ipxe}/ipxe.efi";
      }
    ]
  );

  # iPXE puts the machine's own values in, as text of a URL.
  script = "${cfg.url}/boot.ipxe?mac=\${netX/mac}&serial=\${serial:uristring}&uuid=\${uuid}";

  # An address of RFC 4193 that follows from the cluster's name.
  hash = builtins.hashString "sha256" "photoncloud boot server of ${toString cluster.name}";
  group = start: length: builtins.substring start length hash;
  prefix = "fd${group 0 2}:${group 2 4}:${group 6 4}";

  dhcp = [
    "dhcp-range=${cfg.range.first},${cfg.range.last},${netmask},${cfg.range.lease}"
    "# Firmware, iPXE and the installed system each name themselves in their own way; the card is the same."
    "dhcp-ignore-clid"
    # Hosts of the cluster have their addresses from the flake; what asks here is being installed.
    "dhcp-option=option:router${lib.optionalString (cluster.gateway != null) ",${cluster.gateway}"}"
    "dhcp-option=option:dns-server${lib.concatMapStrings (server: ",${server}") cluster.dns}"
    "dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe"
    "dhcp-boot=tag:!ipxe,tag:uefi,ipxe.efi"
    "dhcp-boot=tag:ipxe,${script}"
  ];

  # By PXE's own boot services, which clients read beside another server's answer; iPXE too, for its BIOS build does
  # not take a boot file from a proxy's answer.
  proxy = [
    "dhcp-range=${dotted network.first},proxy,${netmask}"
    ''pxe-service=tag:!ipxe,x86PC,"PhotonCloud",undionly.kpxe''
    ''pxe-service=tag:!ipxe,X86-64_EFI,"PhotonCloud",ipxe.efi''
    ''pxe-service=tag:!ipxe,BC_EFI,"PhotonCloud",ipxe.efi''
    ''pxe-service=tag:ipxe,x86PC,"PhotonCloud",${script}''
    ''pxe-service=tag:ipxe,X86-64_EFI,"PhotonCloud",${script}''
    ''pxe-service=tag:ipxe,BC_EFI,"PhotonCloud",${script}''
  ];

  configuration = lib.concatLines (
    [
      "# No DNS."
      "port=0"
      "interface=${cfg.interface}"
      "bind-dynamic"
      "log-dhcp"
      "dhcp-leasefile=/var/lib/photon-boot-server/leases"
      "# Firmware, by its architecture (RFC 4578), and iPXE by its own option."
      "dhcp-match=set:ipxe,175"
      "dhcp-match=set:bios,option:client-arch,0"
      "dhcp-match=set:uefi,option:client-arch,7"
      "dhcp-match=set:uefi,option:client-arch,9"
    ]
    ++ (if cfg.mode == "dhcp" then dhcp else proxy)
    ++ [
      "enable-tftp=${cfg.interface}"
      "tftp-root=${files}/lib/ipxe"
      "# iPXE waits 13 s for a router's advertisement. This is none of a router: its lifetime is 0."
      "enable-ra"
      "ra-param=${cfg.interface},60,0"
      "dhcp-range=${prefix}::,ra-only"
    ]
  );

  address = text: if text == null then null else ipv4.parse text;
  first = address cfg.range.first;
  last = address cfg.range.last;
  isHost = number: number != null && network != null && ipv4.isHostOf network number;
  taken = lib.filter (
    name:
    let
      its = ipv4.parse cluster.nodes.${name}.address;
    in
    its != null && its >= first && its <= last
  ) (lib.attrNames cluster.nodes);
in
{
  # Both are what it is made of.
  imports = [
    ../cluster/options.nix
    ../components/provisioner.nix
  ];

  options.photoncloud.bootServer = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether machines can netboot from this host, to be installed by `photoncloud.provisioner`.";
    };
    interface = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "[a-zA-Z0-9_.-]{1,15}");
      default = null;
      example = "enp1s0";
      description = ''
        The one network interface that is answered on: this host's in the cluster's network. Nothing is open on any
        other.
      '';
    };
    mode = lib.mkOption {
      type = lib.types.enum [
        "dhcp"
        "proxy"
      ];
      default = "dhcp";
      example = "proxy";
      description = ''
        `dhcp`: this is the network's DHCP server. `proxy`: there is another one, which gives addresses, and this one
        only says what to boot (Preboot Execution Environment 2.1, proxyDHCP).
      '';
    };
    range = {
      first = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "192.0.2.100";
        description = "First of the addresses that machines have while they are installed, with `mode = \"dhcp\"`.";
      };
      last = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "192.0.2.199";
        description = "Last of these addresses.";
      };
      lease = lib.mkOption {
        type = lib.types.strMatching "[0-9]+[mh]";
        default = "1h";
        example = "30m";
        description = "How long an address is given for: minutes (`m`) or hours (`h`).";
      };
    };
    url = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "http://[^ ,\"]+");
      default = if provisioner.enable then provisioner.settings.provisioner.boot_url or null else null;
      defaultText = lib.literalExpression "config.photoncloud.provisioner.settings.provisioner.boot_url";
      example = "http://192.0.2.1:8089";
      description = "The provisioner's boot listener. Plain HTTP, which is all that firmware speaks.";
    };
    ipxe = lib.mkOption {
      type = lib.types.package;
      default = pkgs.ipxe;
      defaultText = lib.literalExpression "pkgs.ipxe";
      example = lib.literalExpression "pkgs.ipxe.override { embedScript = ./script.ipxe; }";
      description = "The package with undionly.kpxe and ipxe.efi.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.interface != null;
        message = "photoncloud.bootServer.interface is not set. Name this host's interface in the cluster's network, for example \"enp1s0\": DHCP is answered on no other.";
      }
      {
        assertion = self != null && network != null;
        message = "photoncloud.bootServer is enabled on ${node}, which is in no cluster. Describe photoncloud.cluster.network and photoncloud.cluster.nodes.${node}: machines boot in that network.";
      }
      {
        assertion = cfg.url != null;
        message = "photoncloud.bootServer is enabled, but there is no provisioner to boot from. Set photoncloud.provisioner.enable here, or photoncloud.bootServer.url to the boot listener of the host that has it.";
      }
      {
        assertion = cfg.mode == "dhcp" -> cfg.range.first != null && cfg.range.last != null;
        message = "photoncloud.bootServer.range is not set. Write its first and last address, or mode = \"proxy\" if another DHCP server gives addresses.";
      }
      {
        assertion = cfg.mode == "proxy" -> cfg.range.first == null && cfg.range.last == null;
        message = "photoncloud.bootServer.range is set, but with mode = \"proxy\" another DHCP server gives the addresses. Remove the range, or write mode = \"dhcp\".";
      }
    ]
    ++ lib.optionals (network != null && cfg.mode == "dhcp" && cfg.range.first != null) [
      {
        assertion = isHost first && isHost last;
        message = "photoncloud.bootServer.range: ${cfg.range.first} to ${toString cfg.range.last} is not within photoncloud.cluster.network = \"${cluster.network}\". Take addresses of hosts in that network.";
      }
      {
        assertion = first == null || last == null || first <= last;
        message = "photoncloud.bootServer.range: first = \"${cfg.range.first}\" comes after last = \"${toString cfg.range.last}\". Exchange them.";
      }
      {
        assertion = first == null || last == null || taken == [ ];
        message = "photoncloud.bootServer.range: ${cfg.range.first} to ${toString cfg.range.last} has the address of ${lib.concatStringsSep ", " taken}. Leave out what photoncloud.cluster.nodes gives away.";
      }
    ];

    environment.etc."dnsmasq.conf".text =
      # What assertions refuse has no configuration.
      lib.optionalString (network != null && cfg.interface != null) configuration;

    systemd.services.photon-boot-server = {
      description = "PhotonCloud's boot server: DHCP and TFTP";
      after = [ "network.target" ];
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ config.environment.etc."dnsmasq.conf".source ];
      # Whatever the reason for a failure is, the next try may work: never give up.
      unitConfig.StartLimitIntervalSec = 0;
      serviceConfig = import ../sandbox.nix { inherit lib; } // {
        Type = "exec";
        ExecStart = "${pkgs.dnsmasq}/bin/dnsmasq --keep-in-foreground --log-facility=- --pid-file --conf-file=/etc/dnsmasq.conf";
        Restart = "always";
        RestartSec = "1s";
        MemoryHigh = lib.mkDefault "96M";
        MemoryMax = lib.mkDefault "128M";
        TasksMax = lib.mkDefault 64;
        # Before tenants' virtual machines: it starts again in a moment.
        OOMScoreAdjust = lib.mkDefault 1000;
        StateDirectory = "photon-boot-server";
        DynamicUser = true;
        # Low ports, answers to machines without an address, and router advertisements.
        AmbientCapabilities = [
          "CAP_NET_ADMIN"
          "CAP_NET_BIND_SERVICE"
          "CAP_NET_RAW"
        ];
        CapabilityBoundingSet = [
          "CAP_NET_ADMIN"
          "CAP_NET_BIND_SERVICE"
          "CAP_NET_RAW"
        ];
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_NETLINK"
          "AF_PACKET"
          "AF_UNIX"
        ];
      };
    };

    # Advertisements come from a link-local address, and of an interface that has the prefix.
    systemd.network.networks."10-photoncloud" = lib.mkIf (self != null && network != null) {
      address = [ "${prefix}::1/64" ];
      networkConfig.LinkLocalAddressing = lib.mkForce "ipv6";
    };

    networking.firewall.interfaces = lib.mkIf (cfg.interface != null) {
      ${cfg.interface} = {
        # DHCP, TFTP, and the boot services of PXE.
        allowedUDPPorts = [
          67
          69
        ]
        ++ lib.optional (cfg.mode == "proxy") 4011;
      };
    };
  };
}
