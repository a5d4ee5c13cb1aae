{
  description = "PhotonCloud: bare metal into a multi-tenant cloud";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    disko = {
      url = "github:nix-community/disko";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    # Its own inputs are for its tests: only its source is taken.
    nixos-anywhere = {
      url = "github:nix-community/nixos-anywhere";
      flake = false;
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      disko,
      nixos-anywhere,
    }:
    let
      inherit (nixpkgs) lib;
      forAllSystems = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      table = import ./modules/components/table.nix { inherit lib; };
      pkgsFor = system: nixpkgs.legacyPackages.${system};
      hosts = import ./modules/hosts.nix {
        inherit lib;
        inherit (self) nixosModules;
      };
    in
    {
      packages = forAllSystems (
        system:
        let
          pkgs = pkgsFor system;
        in
        rec {
          photoncloud = pkgs.callPackage ./modules/photoncloud.nix { inherit lib; };
          nixos-anywhere-installer = pkgs.callPackage "${nixos-anywhere}/src" { };
          default = photoncloud;
        }
        // lib.optionalAttrs (system == "x86_64-linux") {
          # For the rack of `cargo xtask`, which makes its images of Debian's packages.
          mmdebstrap = pkgs.callPackage ./crates/xtask/nix/mmdebstrap.nix { };
          # docs/operations/options.md, as the modules are now.
          options = pkgs.writeText "options.md" (
            import ./modules/options.nix {
              inherit lib;
              options = self.nixosConfigurations.node01.options.photoncloud;
            }
          );
          # What machines netboot: kernel, ramdisk, the kernel's command line.
          netboot = self.nixosConfigurations.netboot.config.system.build.photonNetboot;
        }
      );

      nixosModules = {
        default =
          { pkgs, ... }:
          {
            imports = [
              ./modules
              disko.nixosModules.disko
            ];
            photoncloud.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.photoncloud;
            photoncloud.provisioner = {
              installer = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.nixos-anywhere-installer;
              bootFiles = lib.mkDefault self.nixosConfigurations.netboot.config.system.build.photonNetboot;
            };
          };
        # One concern each, for hosts that want no more; `photoncloud.package` is theirs to set.
        chainfire = ./modules/chainfire.nix;
        flaredb = ./modules/flaredb;
        hardening = ./modules/hardening;
        provisioning = ./modules/provisioning;
        roles = ./modules/roles;
      }
      // lib.mapAttrs (name: _: ./modules/components + "/${name}.nix") table.components;

      # The hosts of a cluster from one list; flakes made of the template use it.
      lib = { inherit hosts; };

      nixosConfigurations = import ./hosts { inherit hosts; } // {
        netboot = lib.nixosSystem {
          modules = [
            self.nixosModules.default
            ./netboot
          ];
        };
      };

      checks = forAllSystems (
        system:
        import ./tests {
          inherit lib self;
          pkgs = pkgsFor system;
        }
      );

      templates.default = {
        path = ./hosts/template;
        description = "A rack of three hosts that are a cloud, and an image to netboot them";
        welcomeText = ''
          Write down your hosts in cluster.nix, their hardware in hardware.nix and your SSH key in operators.nix; then
          `nix flake check`. docs/operations of PhotonCloud goes on from there.
        '';
      };

      devShells = forAllSystems (
        system:
        let
          pkgs = pkgsFor system;
        in
        {
          # What the project is built with, and what `cargo xtask` needs of the machine (crates/xtask).
          default = pkgs.mkShell {
            packages = [
              pkgs.cargo
              pkgs.clippy
              pkgs.rustc
              pkgs.rustfmt
              pkgs.bc
              pkgs.binutils
              pkgs.bison
              pkgs.cvc5
              pkgs.e2fsprogs
              pkgs.flex
              pkgs.gcc
              pkgs.gnumake
              pkgs.gnutar
              pkgs.iproute2
              pkgs.jq
              pkgs.mypy
              pkgs.nftables
              pkgs.openssh
              pkgs.perl
              pkgs.python3Packages.pip
              pkgs.python3Packages.pyflakes
              pkgs.qemu
              pkgs.shellcheck
              pkgs.systemd
              pkgs.util-linux
              pkgs.xz
              pkgs.zstd
            ]
            # Racks are of x86_64 alone.
            ++ lib.optional pkgs.stdenv.hostPlatform.isx86_64 self.packages.${system}.mmdebstrap;
            # Its wrapper's flags for hardened user programs are not for a kernel.
            hardeningDisable = [ "all" ];
          };
        }
      );

      formatter = forAllSystems (system: (pkgsFor system).nixfmt-tree);
    };
}
