# Identities, tokens and authorization: iam-server.
{ config, lib, ... }:
{
  imports = [
    (import ./module.nix {
      name = "iam";
      server = {
        description = "Whether this host runs iam-server, and keeps its store.";
        own = optional: {
          token_ttl_seconds =
            optional (lib.types.ints.between 1 3600) 900
              "Lifetime of a token whose request does not say, in seconds.";
          token_max_ttl_seconds =
            optional (lib.types.ints.between 1 3600) 3600
              "The longest lifetime that can be asked for, in seconds.";
          session_idle_seconds =
            optional (lib.types.ints.between 1 2592000) 43200
              "After how many seconds a session ends that is not used: 12 hours by default.";
          session_max_seconds =
            optional (lib.types.ints.between 1 2592000) 604800
              "After how many seconds a session ends however it is used: 7 days by default.";
          signing_key_days =
            optional lib.types.ints.positive 30
              "After how many days the signing key is replaced.";
          cluster =
            optional lib.types.str "example"
              "Name of the cluster, which hosts' certificates must have; null: any that `tls.client_ca` signed for.";
          node =
            optional lib.types.str "node01"
              "Name of this host, whose agents' identities are made here; null: its host name.";
          tenant_holders =
            optional (lib.types.listOf lib.types.str)
              [
                "prismnet"
                "plasmavmc"
                "flashdns"
              ]
              "Components that are asked what they hold before a project is deleted; null: all that iam-server calls. Leave out what this cloud does not run.";
          public_endpoints = optional (lib.types.attrsOf lib.types.str) {
            prismnet = "https://192.0.2.1:50081";
          } "Where clients reach the components, by name: who knows IAM alone is told. null: nobody is.";
        };
        example.iam.token_ttl_seconds = 600;
      };
    })
  ];

  config = lib.mkIf config.photoncloud.iam.enable {
    # The identities that the programs of one host, or of a control plane, begin with.
    systemd.services.photon-bootstrap.wantedBy = [ "photon.target" ];
  };
}
