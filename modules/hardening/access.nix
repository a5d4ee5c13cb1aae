# Who gets in: operators, by SSH key. No password opens anything, and users are those of the flake alone.
{ config, lib, ... }:
let
  cfg = config.photoncloud.hardening;
in
{
  options.photoncloud.hardening.access = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = cfg.enable;
      defaultText = lib.literalExpression "config.photoncloud.hardening.enable";
      example = false;
      description = "Whether only SSH keys open the host and users are immutable.";
    };
    operatorKeys = lib.mkOption {
      type = lib.types.listOf lib.types.singleLineStr;
      default = [ ];
      example = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA… operator@example" ];
      description = "Public SSH keys of the operators, who come in as root: `nixos-rebuild` and `photon host` use them.";
    };
  };

  config = lib.mkIf cfg.access.enable {
    assertions = [
      {
        assertion =
          cfg.access.operatorKeys != [ ] || config.users.users.root.openssh.authorizedKeys.keys != [ ];
        message = "photoncloud.hardening.access.operatorKeys is empty, and no password opens this host: nobody could get in. Write the operators' public SSH keys.";
      }
    ];
    users.mutableUsers = false;
    users.users.root = {
      hashedPassword = lib.mkDefault "!";
      openssh.authorizedKeys.keys = cfg.access.operatorKeys;
    };
    services.openssh = {
      enable = true;
      settings = {
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        PermitRootLogin = "prohibit-password";
        X11Forwarding = false;
        AllowAgentForwarding = false;
        MaxAuthTries = 3;
      };
    };
    security.sudo.enable = lib.mkDefault false;
    # Its shell wants root's password, which nobody has: a host that lacks a disk boots on, to where SSH reaches it. Not
    # one that lacks its root or /var/lib (photoncloud.disks.state): these are mounted in the initrd, which stops there,
    # and on that machine a console, or another boot, is the only way in.
    systemd.enableEmergencyMode = lib.mkDefault false;
  };
}
