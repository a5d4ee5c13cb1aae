# Networks: prismnet-server, and the agent that every host with tenants runs.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud.prismnet;
  types = import ./programs/settings.nix { inherit lib pkgs; };
in
{
  imports = [
    ./programs
    ./dataplane.nix
  ];

  options.photoncloud.prismnet = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether this host runs prismnet-server, and keeps its store.";
    };
    settings = lib.mkOption {
      type = types.server {
        section = "prismnet";
        port = 50081;
      };
      default = { };
      example = {
        limits.calls = 8192;
      };
      description = "Settings of prismnet-server: /etc/photoncloud/prismnet-server.toml.";
    };
    agent.enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether this host runs prismnet-agent, which makes tenants' networks on it.";
    };
    agent.settings = lib.mkOption {
      type = types.agent { section = "prismnet-agent"; };
      default = { };
      example = {
        metrics_listen = "off";
      };
      description = "Settings of prismnet-agent: /etc/photoncloud/prismnet-agent.toml.";
    };
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      photoncloud.programs.prismnet-server.settings = cfg.settings;
    })
    (lib.mkIf cfg.agent.enable {
      photoncloud.dataplane.enable = true;
      photoncloud.programs.prismnet-agent = {
        settings = cfg.agent.settings;
        path = [
          pkgs.nftables
          pkgs.conntrack-tools
        ];
      };
    })
  ];
}
