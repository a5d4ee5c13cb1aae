{
  description = "PhotonCloud: bare metal into a multi-tenant cloud";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      forAllSystems = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      pkgsFor = system: nixpkgs.legacyPackages.${system};
    in
    {
      packages = forAllSystems (
        system:
        let
          pkgs = pkgsFor system;
        in
        rec {
          # One build of the workspace: all servers, agents and the command line.
          photoncloud = pkgs.rustPlatform.buildRustPackage {
            pname = "photoncloud";
            version = "0.1.0";
            src = lib.fileset.toSource {
              root = ./.;
              fileset = lib.fileset.unions [
                ./Cargo.toml
                ./Cargo.lock
                ./crates
                ./modules/units
              ];
            };
            cargoLock.lockFile = ./Cargo.lock;
            # The rack builds kernels and boots hosts; `cargo xtask test` runs what needs them.
            cargoBuildFlags = [
              "--workspace"
              "--exclude"
              "xtask"
              "--exclude"
              "photon-testkit"
            ];
            doCheck = false;
            meta = {
              description = "Services, agents and command line of PhotonCloud";
              license = lib.licenses.asl20;
              mainProgram = "photon";
              platforms = lib.platforms.linux;
            };
          };
          default = photoncloud;
        }
      );

      devShells = forAllSystems (
        system:
        let
          pkgs = pkgsFor system;
        in
        {
          default = pkgs.mkShell {
            packages = [
              pkgs.cargo
              pkgs.clippy
              pkgs.rustc
              pkgs.rustfmt
              pkgs.qemu
            ];
          };
        }
      );

      formatter = forAllSystems (system: (pkgsFor system).nixfmt);
    };
}
