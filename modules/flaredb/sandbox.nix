# What a service that reads servers' stores, and then ends, may do.
{ lib }:
let
  sandbox = import ../sandbox.nix { inherit lib; };
in
sandbox
// {
  Type = "oneshot";
  Nice = 10;
  IOSchedulingClass = "idle";
  # The stores belong to the servers' users, and what SQLite makes beside them must too.
  CapabilityBoundingSet = [
    "CAP_CHOWN"
    "CAP_DAC_OVERRIDE"
    "CAP_FOWNER"
  ];
  SystemCallFilter = sandbox.SystemCallFilter ++ [ "@chown" ];
  PrivateNetwork = true;
}
