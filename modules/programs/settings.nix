# Types of `settings` (RFC 42): what is named here has a type and a description; any other key goes into the TOML file
# as it is, and the program's own --check-config judges it when the host is built.
{ lib, pkgs }:
let
  format = pkgs.formats.toml { };

  optional =
    type: example: description:
    lib.mkOption {
      type = lib.types.nullOr type;
      default = null;
      inherit example description;
    };

  handed = unit: credential: "/run/credentials/${unit}.service/${credential}";

  endpoints = unit: {
    iam = optional lib.types.str "https://192.0.2.1:50080" "URL of IAM; null: on this host's loopback.";
    prismnet =
      optional lib.types.str "https://192.0.2.1:50081"
        "URL of PrismNET; null: on this host's loopback.";
    plasmavmc =
      optional lib.types.str "https://192.0.2.1:50082"
        "URL of PlasmaVMC; null: on this host's loopback.";
    ca =
      optional lib.types.path (handed unit "tls-ca")
        "PEM file of the authorities that the servers' certificates are checked with; null: the system's.";
    certificate =
      optional lib.types.path (handed unit "tls-certificate")
        "PEM certificate to show to the servers.";
    key =
      optional lib.types.path (handed unit "tls-key")
        "PEM private key of that certificate. Name a file of the host, never one of the flake: the Nix store is readable by everybody.";
  };

  every = unit: {
    metrics_listen =
      optional lib.types.str "127.0.0.1:51080"
        "Loopback address and port of /metrics, or `off`; null: 127.0.0.1 and the gRPC port + 1000.";
    endpoints = endpoints unit;
  };

  submodule =
    options:
    lib.types.submodule {
      freeformType = format.type;
      inherit options;
    };
in
{
  inherit optional;

  # `own`: the options of the section that only this program has, named `section`.
  server =
    {
      section,
      unit ? "${section}-server",
      port,
      own ? { },
    }:
    submodule (
      every unit
      // {
        listen = lib.mkOption {
          type = lib.types.str;
          default = "127.0.0.1";
          example = "192.0.2.1";
          description = "Address to listen on; other than loopback only with `tls`.";
        };
        port = lib.mkOption {
          type = lib.types.port;
          default = port;
          example = port;
          description = "Port of the gRPC API.";
        };
        tls = {
          certificate =
            optional lib.types.path (handed unit "tls-certificate")
              "PEM certificate of the listener.";
          key =
            optional lib.types.path (handed unit "tls-key")
              "PEM private key of that certificate. Name a file of the host, never one of the flake: the Nix store is readable by everybody.";
          client_ca =
            optional lib.types.path (handed unit "tls-ca")
              "PEM file of the authorities that clients' certificates must come from.";
          client_certificates =
            optional
              (lib.types.enum [
                "required"
                "optional"
              ])
              "optional"
              "Whether a client must show a certificate of `client_ca`, or may do without and be known by its token alone; null: required if `client_ca` is set.";
        };
        limits = {
          calls_per_connection =
            optional lib.types.ints.positive 1024
              "How many calls one connection may have under way.";
          calls = optional lib.types.ints.positive 4096 "How many calls may be under way in all.";
          call_timeout_seconds =
            optional lib.types.ints.positive 30
              "How long a call may take to answer, in seconds.";
        };
        ${section} = own;
      }
    );

  agent =
    {
      section,
      own ? { },
    }:
    submodule (
      every section
      // {
        node = optional lib.types.str "node01" "Name of this host; null: its host name.";
        ${section} = own;
      }
    );
}
