# What a host of a cluster derives from the list of all hosts.
{
  config,
  lib,
  ...
}:
let
  cfg = config.photoncloud;
  inherit (cfg) cluster;
  self = cluster.nodes.${cfg.node} or null;
  controlPlane = lib.attrNames (
    lib.filterAttrs (_: node: builtins.elem "controlPlane" node.roles) cluster.nodes
  );
  # A host of the control plane asks itself, any other the first in the order of names.
  server = if builtins.elem cfg.node controlPlane then cfg.node else builtins.head controlPlane;
  url = port: "https://${cluster.nodes.${server}.address}:${toString port}";

  pki = "/var/lib/photoncloud/pki";
  credentials = {
    tls-certificate = "${pki}/host.pem";
    tls-key = "${pki}/host-key.pem";
    tls-ca = "${pki}/ca.pem";
  };
  handed = unit: credential: "/run/credentials/${unit}.service/${credential}";
  endpoints = unit: {
    iam = lib.mkDefault (url 50080);
    prismnet = lib.mkDefault (url 50081);
    plasmavmc = lib.mkDefault (url 50082);
    ca = lib.mkDefault (handed unit "tls-ca");
    certificate = lib.mkDefault (handed unit "tls-certificate");
    key = lib.mkDefault (handed unit "tls-key");
  };
  serverSettings = unit: {
    listen = lib.mkDefault self.address;
    tls = {
      certificate = lib.mkDefault (handed unit "tls-certificate");
      key = lib.mkDefault (handed unit "tls-key");
      client_ca = lib.mkDefault (handed unit "tls-ca");
      # Tenants have no certificate, only tokens; hosts have both.
      client_certificates = lib.mkDefault "optional";
    };
    endpoints = endpoints unit;
  };
  # The host's certificate is there before its programs are started.
  afterCertificate = [
    "photon-enrol.service"
    "photon-pki.service"
  ];
  isServer = self != null && controlPlane != [ ];
in
{
  imports = [
    ./options.nix
    ./assertions.nix
    ./underlay.nix
    ../iam.nix
    ../prismnet.nix
    ../plasmavmc.nix
    ../provisioning/provisioner.nix
  ];

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
    environment.variables = lib.mapAttrs (_: lib.mkDefault) {
      IAM_ENDPOINT = url 50080;
      PRISMNET_ENDPOINT = url 50081;
      PLASMAVMC_ENDPOINT = url 50082;
      PROVISIONER_ENDPOINT = url 50089;
      PHOTON_CA_FILE = credentials.tls-ca;
    };

    photoncloud.roles = {
      controlPlane.enable = lib.mkDefault (builtins.elem "controlPlane" self.roles);
      compute.enable = lib.mkDefault (builtins.elem "compute" self.roles);
      storage.enable = lib.mkDefault (builtins.elem "storage" self.roles);
    };

    photoncloud.iam.settings = serverSettings "iam-server" // {
      iam.cluster = lib.mkDefault cluster.name;
    };
    photoncloud.prismnet.settings = serverSettings "prismnet-server";
    photoncloud.plasmavmc.settings = serverSettings "plasmavmc-server";
    photoncloud.provisioner.settings = serverSettings "photon-provisioner";
    photoncloud.prismnet.agent.settings = {
      node = lib.mkDefault cfg.node;
      endpoints = endpoints "prismnet-agent";
    };
    photoncloud.plasmavmc.agent.settings = {
      node = lib.mkDefault cfg.node;
      endpoints = endpoints "plasmavmc-agent";
    };

    photoncloud.programs =
      lib.genAttrs
        (
          lib.optional cfg.iam.enable "iam-server"
          ++ lib.optional cfg.prismnet.enable "prismnet-server"
          ++ lib.optional cfg.plasmavmc.enable "plasmavmc-server"
          ++ lib.optional cfg.prismnet.agent.enable "prismnet-agent"
          ++ lib.optional cfg.plasmavmc.agent.enable "plasmavmc-agent"
          ++ lib.optional cfg.provisioner.enable "photon-provisioner"
        )
        (_: {
          inherit credentials;
          after = afterCertificate;
        });
  };
}
