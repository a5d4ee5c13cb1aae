# Identities, tokens and authorization: iam-server.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud.iam;
  types = import ./programs/settings.nix { inherit lib pkgs; };
in
{
  imports = [ ./programs ];

  options.photoncloud.iam = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether this host runs iam-server, and keeps its store.";
    };
    settings = lib.mkOption {
      type = types.server {
        section = "iam";
        port = 50080;
        own = {
          token_ttl_seconds =
            types.optional (lib.types.ints.between 1 3600) 900
              "Lifetime of a token whose request does not say, in seconds.";
          token_max_ttl_seconds =
            types.optional (lib.types.ints.between 1 3600) 3600
              "The longest lifetime that can be asked for, in seconds.";
          signing_key_days =
            types.optional lib.types.ints.positive 30
              "After how many days the signing key is replaced.";
          cluster =
            types.optional lib.types.str "example"
              "Name of the cluster, which hosts' certificates must have; null: any that `tls.client_ca` signed for.";
          node =
            types.optional lib.types.str "node01"
              "Name of this host, whose agents' identities are made here; null: its host name.";
        };
      };
      default = { };
      example = {
        iam.token_ttl_seconds = 600;
      };
      description = "Settings of iam-server: /etc/photoncloud/iam-server.toml.";
    };
  };

  config = lib.mkIf cfg.enable {
    photoncloud.programs.iam-server.settings = cfg.settings;
    # The identities that the programs of one host, or of a control plane, begin with.
    systemd.services.photon-bootstrap.wantedBy = [ "photon.target" ];
  };
}
