# The programs, and their unit files.
{
  config,
  lib,
  ...
}:
let
  cfg = config.photoncloud;
in
{
  options.photoncloud.package = lib.mkOption {
    type = lib.types.package;
    example = lib.literalExpression "inputs.photoncloud.packages.x86_64-linux.photoncloud";
    description = ''
      The package with PhotonCloud's programs and, under `lib/systemd/system`, their units. The flake's
      `nixosModules.default` sets it to the package of the same revision.
    '';
  };

  config = lib.mkIf (cfg.programs != { }) {
    systemd.packages = [ cfg.package ];
    environment.systemPackages = [ cfg.package ];
    # A unit file's own [Install] section means nothing to NixOS.
    systemd.targets.photon.wantedBy = [ "multi-user.target" ];
  };
}
