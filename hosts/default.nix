# The example rack, which is also what the tests run: a cluster of three, and a host that is a cloud by itself.
{ hosts }:
hosts {
  shared = [
    ./cluster.nix
    ./hardware.nix
    ./operators.nix
  ];
  hosts = {
    node01 = ./node01.nix;
    node02 = ./node02.nix;
    node03 = ./node03.nix;
  };
}
// hosts {
  shared = [
    ./hardware.nix
    ./operators.nix
  ];
  hosts.all-in-one = ./all-in-one.nix;
}
