# Names: flashdns-server, and the agent that answers the guests of a host.
{ lib, ... }:
{
  imports = [
    (import ./module.nix {
      name = "flashdns";
      server = {
        description = "Whether this host runs flashdns-server, which tells hosts what their guests' names are.";
        own = optional: {
          suffix =
            optional lib.types.str "cloud.example.com"
              "What the names of all virtual machines end with, at least two labels. Guests know it: set it once, before there are any. Null: cloud.internal.";
        };
        example.flashdns.suffix = "cloud.example.com";
      };
      agent = {
        description = "Whether this host runs flashdns-agent, which answers the names that its guests ask for. Without it, turn `photoncloud.prismnet.agent.settings.prismnet-agent.resolver` off too.";
        own = optional: {
          queries_per_second =
            optional (lib.types.ints.between 0 1000000) 1000
              "How many questions of one address are answered per second, and twice as many at once after a rest; 0: all.";
        };
        example.flashdns-agent.queries_per_second = 5000;
      };
    })
  ];
}
