# What a host of a cluster derives from the list of all hosts.
{
  config,
  lib,
  ...
}:
let
  cfg = config.photoncloud;
  inherit (cfg) cluster;
  table = import ../components/table.nix { inherit lib; };
  self = cluster.nodes.${cfg.node} or null;
  controlPlane = lib.attrNames (
    lib.filterAttrs (_: node: builtins.elem "controlPlane" node.roles) cluster.nodes
  );
  # A host of the control plane asks itself, any other the first in the order of names.
  server = if builtins.elem cfg.node controlPlane then cfg.node else builtins.head controlPlane;
  # Of a component's server.
  url = name: "https://${cluster.nodes.${server}.address}:${toString cfg.${name}.settings.port}";

  pki = "/var/lib/photoncloud/pki";
  credentials = {
    tls-certificate = "${pki}/host.pem";
    tls-key = "${pki}/host-key.pem";
    tls-ca = "${pki}/ca.pem";
  };
  handed = unit: credential: "/run/credentials/${unit}.service/${credential}";
  settings =
    program:
    let
      certificate = lib.mkDefault (handed program.name "tls-certificate");
      key = lib.mkDefault (handed program.name "tls-key");
      ca = lib.mkDefault (handed program.name "tls-ca");
    in
    lib.optionalAttrs (program.calls != [ ]) {
      endpoints = lib.genAttrs program.calls (name: lib.mkDefault (url name)) // {
        inherit ca certificate key;
      };
    }
    // lib.optionalAttrs (program.kind == "agent") { node = lib.mkDefault cfg.node; }
    // lib.optionalAttrs (program.kind == "server") {
      listen = lib.mkDefault self.address;
      tls = {
        inherit certificate key;
        client_ca = ca;
        # Tenants have no certificate, only tokens; hosts have both.
        client_certificates = lib.mkDefault "optional";
      };
    };
  isServer = self != null && controlPlane != [ ];
in
{
  imports = [
    ./options.nix
    ./assertions.nix
    ./underlay.nix
  ]
  ++ map (name: ../components + "/${name}.nix") (lib.attrNames table.components);

  options.photoncloud.node = lib.mkOption {
    type = lib.types.str;
    default = config.networking.hostName;
    defaultText = lib.literalExpression "config.networking.hostName";
    example = "node01";
    description = "Which of `photoncloud.cluster.nodes` this host is.";
  };

  config = lib.mkIf isServer {
    networking.domain = lib.mkDefault cluster.domain;
    networking.hosts = lib.mapAttrs' (name: node: {
      name = node.address;
      value = [
        "${name}.${cluster.domain}"
        name
      ];
    }) cluster.nodes;

    # For operators on the host: `photon` finds the cloud that the host is of.
    environment.variables = lib.mapAttrs (_: lib.mkDefault) (
      lib.mapAttrs' (
        name: _: lib.nameValuePair "PHOTON_${lib.toUpper name}_ENDPOINT" (url name)
      ) table.components
      // {
        PHOTON_CA_FILE = credentials.tls-ca;
      }
    );

    photoncloud = lib.mkMerge (
      [
        {
          roles = {
            controlPlane.enable = lib.mkDefault (builtins.elem "controlPlane" self.roles);
            compute.enable = lib.mkDefault (builtins.elem "compute" self.roles);
            storage.enable = lib.mkDefault (builtins.elem "storage" self.roles);
          };
          iam.settings.iam = {
            cluster = lib.mkDefault cluster.name;
            public_endpoints = lib.mkDefault (lib.mapAttrs (name: _: url name) table.components);
          };
        }
      ]
      ++ lib.mapAttrsToList (
        name: program:
        lib.setAttrByPath program.option { settings = settings program; }
        // {
          programs.${name} = lib.mkIf (lib.getAttrFromPath program.option cfg).enable {
            inherit credentials;
          };
        }
      ) table.programs
    );
  };
}
