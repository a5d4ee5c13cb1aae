# What each program of this host gets: its file under /etc/photoncloud, checked by the program itself when the host is
# built, and its unit's drop-in. The options that people use are those of `photoncloud.iam` and the like.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud;
  toml = import ../toml.nix { inherit lib; };

  program = lib.types.submodule (
    { config, name, ... }:
    {
      options = {
        settings = lib.mkOption {
          type = lib.types.attrsOf lib.types.anything;
          default = { };
          example = {
            port = 50080;
          };
          description = "The settings, as in the program's TOML file; null for what is the program's default.";
        };
        path = lib.mkOption {
          type = lib.types.listOf lib.types.package;
          default = [ ];
          example = lib.literalExpression "[ pkgs.nftables ]";
          description = "Packages whose programs it runs.";
        };
        credentials = lib.mkOption {
          type = lib.types.attrsOf lib.types.path;
          default = { };
          example = {
            tls-ca = "/var/lib/photoncloud/pki/ca.pem";
          };
          description = "Files that systemd hands it under `/run/credentials/${name}.service`, by credential.";
        };
        limits = lib.mkOption {
          type = lib.types.attrsOf (
            lib.types.nullOr (lib.types.either lib.types.str lib.types.ints.positive)
          );
          default = { };
          example = {
            memoryMax = "8G";
          };
          description = "What it may use, in the place of what its unit says: memoryHigh, memoryMax, tasksMax.";
        };
        file = lib.mkOption {
          type = lib.types.package;
          readOnly = true;
          description = "The TOML file, which building it has checked.";
        };
        text = lib.mkOption {
          type = lib.types.str;
          readOnly = true;
          description = "What stands in the TOML file.";
        };
      };
      config = {
        text = toml config.settings;
        file = checked name config.text;
      };
    }
  );

  # Certificates exist only on the host: the check sees some of its own in their place.
  checked =
    name: text:
    pkgs.runCommand "${name}.toml"
      {
        inherit text;
        passAsFile = [ "text" ];
        nativeBuildInputs = [ pkgs.openssl ];
      }
      ''
        mkdir credentials
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=check \
          -keyout credentials/tls-key -out credentials/tls-certificate
        cp credentials/tls-certificate credentials/tls-ca
        sed "s|/run/credentials/${name}.service/|$PWD/credentials/|" "$textPath" > check.toml
        ${cfg.package}/bin/${name} --config check.toml --check-config
        cp "$textPath" $out
      '';
in
{
  imports = [
    ../package.nix
    ./ports.nix
  ];

  options.photoncloud.programs = lib.mkOption {
    type = lib.types.attrsOf program;
    default = { };
    internal = true;
    example = {
      iam-server.settings.port = 50080;
    };
    description = "PhotonCloud's programs that this host runs, by the name of the program and its unit.";
  };

  config = {
    environment.etc = lib.mapAttrs' (name: program: {
      name = "photoncloud/${name}.toml";
      value.source = program.file;
    }) cfg.programs;

    # A switch restarts what changed, even while tenants use the cloud: these programs own no virtual machine, no
    # network and no filter, so that a guest never notices (docs/architecture.md, invariants).
    systemd.services = lib.mapAttrs (name: program: {
      wantedBy = [ "photon.target" ];
      inherit (program) path;
      environment.PHOTON_CONFIG = "/etc/photoncloud/${name}.toml";
      restartTriggers = [ program.file ];
      serviceConfig = lib.mkMerge [
        (lib.mkIf (program.credentials != { }) {
          LoadCredential = lib.mapAttrsToList (credential: file: "${credential}:${file}") program.credentials;
        })
        # `memoryMax` is systemd's MemoryMax.
        (lib.mapAttrs' (
          name: value:
          lib.nameValuePair "${lib.toUpper (lib.substring 0 1 name)}${lib.substring 1 (-1) name}" value
        ) (lib.filterAttrs (_: value: value != null) program.limits))
      ];
    }) cfg.programs;
  };
}
