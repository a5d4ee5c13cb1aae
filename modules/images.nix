# The catalogue of images, and what fetches them: a process of its own for each download, which systemd starts.
{ config, lib, ... }:
let
  cfg = config.photoncloud;
  inherit (cfg.plasmavmc) settings;

  image = lib.types.submodule {
    options = {
      url = lib.mkOption {
        type = lib.types.strMatching "https?://[^ ]+";
        example = "https://images.example.org/debian-13-20260601.qcow2";
        description = "Where its disk is, raw or qcow2 and not compressed. Name one version, not whatever is the latest: the content must have `sha256`.";
      };
      sha256 = lib.mkOption {
        type = lib.types.strMatching "[0-9a-fA-F]{64}";
        example = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        description = "SHA-256 of the disk, as `sha256sum` prints it. Another one makes another image, which gets the name when it is there.";
      };
      description = lib.mkOption {
        type = lib.types.str;
        default = "";
        example = "Debian 13 (trixie)";
        description = "What tenants read of it.";
      };
      defaultUser = lib.mkOption {
        type = lib.types.str;
        default = "";
        example = "debian";
        description = "The user that its guests have for people to sign in as, which gets a virtual machine's SSH keys.";
      };
    };
  };
in
{
  imports = [ ./components/plasmavmc.nix ];

  options.photoncloud.images = lib.mkOption {
    type = lib.types.attrsOf image;
    default = { };
    example = lib.literalExpression ''
      {
        debian-13 = {
          url = "https://images.example.org/debian-13-20260601.qcow2";
          sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
          defaultUser = "debian";
        };
      }
    '';
    description = ''
      The catalogue: images that every tenant may use, by name. The host of the control plane fetches what is missing, and
      looks every hour. An image that is named no more is offered no more, and goes when no virtual machine uses it.
    '';
  };

  config = lib.mkIf cfg.plasmavmc.enable {
    photoncloud.plasmavmc.settings.plasmavmc.images = lib.mkIf (cfg.images != { }) (
      lib.mapAttrs (_: image: {
        inherit (image) url sha256 description;
        default_user = image.defaultUser;
      }) cfg.images
    );

    users.groups.photoncloud-fetch = { };
    systemd.sockets.photon-fetch.wantedBy = [ "photon.target" ];
    # What the server allows, its unit must not forbid.
    systemd.services."photon-fetch@" = lib.mkIf (settings.plasmavmc.image_networks != null) {
      overrideStrategy = "asDropin";
      serviceConfig.IPAddressAllow = settings.plasmavmc.image_networks;
    };
  };
}
