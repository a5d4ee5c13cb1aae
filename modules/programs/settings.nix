# Types of `settings` (RFC 42): what is named here has a type and a description; any other key goes into the TOML file
# as it is, and the program's own --check-config judges it when the host is built.
{ lib, pkgs }:
let
  format = pkgs.formats.toml { };
  table = import ../components/table.nix { inherit lib; };

  optional =
    type: example: description:
    lib.mkOption {
      type = lib.types.nullOr type;
      default = null;
      inherit example description;
    };

  handed = unit: credential: "/run/credentials/${unit}.service/${credential}";

  # Of the servers that the program calls.
  endpoints =
    program:
    lib.genAttrs program.calls (
      name:
      let
        server = table.components.${name};
      in
      optional lib.types.str "https://192.0.2.1:${toString server.port}"
        "URL of ${server.title}; null: on this host's loopback."
    )
    // {
      ca =
        optional lib.types.path (handed program.name "tls-ca")
          "PEM file of the authorities that the servers' certificates are checked with; null: the system's.";
      certificate =
        optional lib.types.path (handed program.name "tls-certificate")
          "PEM certificate to show to the servers.";
      key =
        optional lib.types.path (handed program.name "tls-key")
          "PEM private key of that certificate. Name a file of the host, never one of the flake: the Nix store is readable by everybody.";
    };

  every =
    program:
    {
      metrics_listen =
        optional lib.types.str "127.0.0.1:51080"
          "Loopback address and port of /metrics, or `off`; null: 127.0.0.1 and the gRPC port + 1000.";
    }
    // lib.optionalAttrs (program.calls != [ ]) { endpoints = endpoints program; };

  server = program: own: {
    listen = lib.mkOption {
      type = lib.types.str;
      default = "127.0.0.1";
      example = "192.0.2.1";
      description = "Address to listen on; other than loopback only with `tls`.";
    };
    port = lib.mkOption {
      type = lib.types.port;
      default = program.component.port;
      example = program.component.port;
      description = "Port of the gRPC API.";
    };
    tls = {
      certificate =
        optional lib.types.path (handed program.name "tls-certificate")
          "PEM certificate of the listener.";
      key =
        optional lib.types.path (handed program.name "tls-key")
          "PEM private key of that certificate. Name a file of the host, never one of the flake: the Nix store is readable by everybody.";
      client_ca =
        optional lib.types.path (handed program.name "tls-ca")
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
    events = {
      days =
        optional lib.types.ints.unsigned 3650
          "For how many days events are kept, at least 30; 0: forever. null: 400. What is older is cut off once a day, which is an event too.";
      most =
        optional lib.types.ints.unsigned 10000000
          "How many events are kept of each organization, and of the cloud's own, at least 10,000; 0: any number. null: 2,000,000. Events of the last 30 days are kept in any case.";
    };
    limits =
      let
        positive = optional lib.types.ints.positive;
        share = whose: {
          calls = positive 32 "How many calls ${whose} may have under way, streams not counted.";
          streams = positive 32 "How many streams ${whose} may have open.";
          calls_per_second = positive 50 "How many calls a second ${whose} may make; who asks faster waits, or is refused.";
          burst = positive 100 "How many calls ${whose} may make at once before their rate counts.";
        };
      in
      {
        connections = positive 8192 "How many connections may be open in all.";
        connections_per_source = positive 128 "How many connections may come from one address (IPv6: one /64).";
        silent_seconds = positive 15 "How long a connection may be open before its first call comes, in seconds.";
        idle_seconds = positive 600 "How long a connection may be open without a call under way, in seconds.";
        calls_per_connection = positive 1024 "How many calls one connection may have under way.";
        calls = positive 4096 "How many calls may be under way in all, streams not counted.";
        streams = positive 4096 "How many streams may be open in all.";
        call_timeout_seconds = positive 30 "How long a call may take to answer, in seconds.";
        first_message_seconds = positive 10 "How long the first message of a stream may take to come, in seconds.";
        written_kib = positive 12288 "How many KiB of its store one principal of a tenant may have written at once; null: 1536.";
        written_kib_per_second = positive 128 "How many KiB a second one principal of a tenant may have written from then on; null: 32.";
        stranger = share "one address without an accepted token";
        principal = share "one principal";
        organization = share "one organization";
      };
    ${program.component.name} = own;
  };

  agent = program: own: {
    node = optional lib.types.str "node01" "Name of this host; null: its host name.";
    ${program.name} = own;
  };
in
{
  # Of a program of the table; `own` makes the options of the section that only this program has, by
  # `optional type example description`.
  settings =
    program: own:
    lib.types.submodule {
      freeformType = format.type;
      options =
        every program // (if program.kind == "server" then server else agent) program (own optional);
    };
}
