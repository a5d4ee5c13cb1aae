# Networks: prismnet-server, and the agent that every host with tenants runs.
import ./module.nix {
  name = "prismnet";
  server = {
    description = "Whether this host runs prismnet-server, and keeps its store.";
    example.limits.calls = 8192;
  };
  agent = {
    description = "Whether this host runs prismnet-agent, which makes tenants' networks on it.";
    example.metrics_listen = "off";
    path = pkgs: [
      pkgs.nftables
      pkgs.conntrack-tools
    ];
  };
}
