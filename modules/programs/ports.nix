# The ports of PhotonCloud's programs lie where the kernel takes those of outgoing connections from: one that such a
# connection has, if only for a moment, keeps a program from starting.
{ config, lib, ... }:
let
  cfg = config.photoncloud;
  table = import ../components/table.nix { inherit lib; };
in
{
  options.photoncloud.reservedPorts = lib.mkOption {
    type = lib.types.listOf lib.types.port;
    default = [ ];
    example = [ 50180 ];
    description = ''
      Ports that this host gives to no outgoing connection, beside the ones on which PhotonCloud's programs listen by
      default: where a program of yours listens, or one of ours on another port.
    '';
  };

  config = lib.mkIf (cfg.programs != { }) {
    boot.kernel.sysctl."net.ipv4.ip_local_reserved_ports" = lib.concatMapStringsSep "," toString (
      lib.unique (lib.sort lib.lessThan (table.ports ++ cfg.reservedPorts))
    );
  };
}
