# Every file here is a NixOS test and every host of the flake is built, found by themselves.
{
  lib,
  pkgs,
  self,
}:
let
  isTest = name: type: type == "regular" && lib.hasSuffix ".nix" name && name != "default.nix";
  names = map (lib.removeSuffix ".nix") (
    lib.attrNames (lib.filterAttrs isTest (builtins.readDir ./.))
  );
  system = pkgs.stdenv.hostPlatform.system;
  support = import ./support { inherit lib pkgs self; };

  tests = lib.genAttrs names (
    name:
    pkgs.testers.runNixOSTest (
      import (./. + "/${name}.nix") {
        inherit
          lib
          pkgs
          self
          support
          ;
      }
    )
  );
  hosts = lib.mapAttrs' (name: host: {
    name = "host-${name}";
    value = host.config.system.build.toplevel;
  }) self.nixosConfigurations;
  # The committed page of options is that of the modules.
  options = pkgs.runCommand "options" { } ''
    diff -u ${../docs/operations/options.md} ${self.packages.${system}.options} >$out
  '';
in
# Hosts of the example are PCs, and so are the machines of the tests.
lib.optionalAttrs (system == "x86_64-linux") (tests // hosts // { inherit options; })
