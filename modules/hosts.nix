# nixosConfigurations of hosts: `hosts` has a module for each by its name, `shared` is what all of them have.
{ lib, nixosModules }:
{
  shared ? [ ],
  hosts,
}:
lib.mapAttrs (
  name: host:
  lib.nixosSystem {
    modules = [
      nixosModules.default
      host
      {
        networking.hostName = lib.mkDefault name;
        photoncloud.node = name;
      }
    ]
    ++ shared;
  }
) hosts
