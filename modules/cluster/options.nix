# The cluster as its operator writes it down, once, for all of its hosts.
{ lib, ... }:
{
  options.photoncloud.cluster = {
    name = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "[a-z]([a-z0-9-]{0,30}[a-z0-9])?");
      default = null;
      example = "example";
      description = ''
        Name of the cluster, in its hosts' certificates: a letter, then letters, digits and dashes, at most 32. null:
        this host belongs to none.
      '';
    };
    domain = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "[a-z0-9]([a-z0-9.-]*[a-z0-9])?");
      default = null;
      example = "example.internal";
      description = "Domain of the hosts' names.";
    };
    network = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "192.0.2.0/24";
      description = "The IPv4 network that the hosts reach each other by: control plane, and tenants' packets between hosts.";
    };
    gateway = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "192.0.2.254";
      description = "The router of that network; null: hosts reach nothing beyond it.";
    };
    dns = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "192.0.2.254" ];
      description = "Resolvers of the hosts, not of tenants.";
    };
    nodes = lib.mkOption {
      default = { };
      example = {
        node01 = {
          address = "192.0.2.1";
          roles = [
            "controlPlane"
            "compute"
          ];
        };
      };
      description = "The hosts, by host name. Every host derives its peers, endpoints, certificates and firewall from it.";
      type = lib.types.attrsOf (
        lib.types.submodule {
          options = {
            address = lib.mkOption {
              type = lib.types.str;
              example = "192.0.2.1";
              description = "The host's address in the cluster's network.";
            };
            roles = lib.mkOption {
              type = lib.types.listOf (
                lib.types.enum [
                  "controlPlane"
                  "compute"
                  "storage"
                ]
              );
              default = [ "compute" ];
              example = [ "compute" ];
              description = "What the host is for; each turns on `photoncloud.roles.<role>`.";
            };
            interface = lib.mkOption {
              type = lib.types.str;
              default = "en* eth*";
              example = "enp1s0";
              description = ''
                The network interface that has the address: a name, or patterns as systemd.network(5) takes them, of
                which only one interface of the host may be.
              '';
            };
            mac = lib.mkOption {
              type = lib.types.nullOr (lib.types.strMatching "([0-9a-f]{2}:){5}[0-9a-f]{2}");
              default = null;
              example = "52:54:00:12:34:56";
              description = "Hardware address of that interface, in lower case; it finds the interface in the place of its name.";
            };
          };
        }
      );
    };
  };
}
