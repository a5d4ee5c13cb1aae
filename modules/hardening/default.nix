# A host is an appliance: what is not needed is shut, what fills up is bounded, what hangs is started again.
{ lib, ... }:
{
  imports = [
    ./access.nix
    ./firewall.nix
    ./journal.nix
    ./kernel.nix
    ./time.nix
    ./watchdog.nix
  ];

  options.photoncloud.hardening.enable = lib.mkOption {
    type = lib.types.bool;
    default = false;
    example = true;
    description = "Whether the host is hardened; roles turn it on. Each part has a switch of its own under `photoncloud.hardening`.";
  };
}
