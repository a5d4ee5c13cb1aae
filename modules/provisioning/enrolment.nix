# A host's certificate: asked for with the join token that its installation left, renewed by itself ever after.
{ config, lib, ... }:
let
  cfg = config.photoncloud.enrolment;
  inherit (config.photoncloud) cluster node provisioner;
  self = cluster.nodes.${node} or null;
  controlPlane = lib.attrNames (
    lib.filterAttrs (_: it: builtins.elem "controlPlane" it.roles) cluster.nodes
  );
in
{
  imports = [
    ../cluster
    ../programs
    ../components/provisioner.nix
  ];

  options.photoncloud.enrolment = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = self != null && config.photoncloud.programs != { };
      defaultText = lib.literalMD "whether this host is one of `photoncloud.cluster.nodes`";
      example = false;
      description = "Whether this host gets its certificate from the cluster's provisioner, and renews it.";
    };
    endpoint = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "https://[^ ]+");
      default =
        if controlPlane == [ ] then
          null
        else
          "https://${
            cluster.nodes.${builtins.head controlPlane}.address
          }:${toString provisioner.settings.port}";
      defaultText = lib.literalMD "the first host of the control plane, the port of `photoncloud.provisioner.settings`";
      example = "https://192.0.2.1:50089";
      description = "The host that has `photoncloud.provisioner`.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.endpoint != null;
        message = "photoncloud.enrolment.endpoint is not set, and photoncloud.cluster.nodes has no host of the control plane. Write the URL of the host that has photoncloud.provisioner, for example \"https://192.0.2.1:50089\".";
      }
    ];

    environment.etc."photoncloud/provisioner-endpoint" = lib.mkIf (cfg.endpoint != null) {
      text = "${cfg.endpoint}\n";
    };

    systemd.timers.photon-renew.wantedBy = [ "timers.target" ];
    # Programs read a certificate when they start.
    systemd.paths.photon-certificate.wantedBy = [ "photon.target" ];

    # The provisioner's own host is in no inventory: photon-pki.service makes its certificate.
    systemd.services.photon-enrol = lib.mkIf (!provisioner.enable) {
      wantedBy = [ "photon.target" ];
    };
    systemd.services.photon-ready = lib.mkIf (!provisioner.enable) {
      wantedBy = [ "photon.target" ];
    };
  };
}
