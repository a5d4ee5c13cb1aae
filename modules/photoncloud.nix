# The package: one build of the workspace gives all programs, and their units stand beside them.
{
  lib,
  installShellFiles,
  rustPlatform,
  stdenv,
}:
let
  table = import ./components/table.nix { inherit lib; };
  # What units have in the place of `@programs@`.
  programs = lib.concatMapStringsSep " " (program: "${program}.service") (
    lib.attrNames table.programs
  );
in
rustPlatform.buildRustPackage {
  pname = "photoncloud";
  version = "0.1.0";
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../crates
      ./sandbox.conf
      ./units
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [
    "--workspace"
    "--exclude"
    "xtask"
    "--exclude"
    "photon-testkit"
    "--exclude"
    "photon-testcloud"
  ];
  nativeBuildInputs = [ installShellFiles ];
  # The tests boot hosts and virtual machines: `cargo xtask test` runs them where that can be done.
  doCheck = false;
  postInstall = ''
    mkdir -p $out/lib/systemd/system
    for unit in modules/units/*; do
      sed -e '/^@sandbox@$/ { r modules/sandbox.conf' -e 'd }' -e 's|@programs@|${programs}|g' \
        -e "s|@bindir@|$out/bin|g" "$unit" > "$out/lib/systemd/system/$(basename "$unit")"
    done
  '';
  # They are made by the program itself, which a machine of another kind can't run.
  preFixup = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    mkdir pages
    $out/bin/photon man pages
    installManPage pages/*
    for shell in bash fish zsh; do
      $out/bin/photon completion $shell > photon.$shell
    done
    installShellCompletion --cmd photon --bash photon.bash --fish photon.fish --zsh photon.zsh
  '';
  # What FlareDB can keep its state in; with etcd a cluster may have several hosts in its control plane.
  passthru.storeEngines = [ "sqlite" ];
  meta = {
    description = "Services, agents and command line of PhotonCloud";
    license = lib.licenses.asl20;
    mainProgram = "photon";
    platforms = lib.platforms.linux;
  };
}
