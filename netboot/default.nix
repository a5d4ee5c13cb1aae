# What a machine netboots before it is a host: it tells the provisioner what it is made of, and lets the installer in.
# It is served to whoever asks, so there is nothing secret in it.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud.netboot;

  # The provisioner's public key is on the kernel's command line, with %20 for spaces.
  installerKey = pkgs.writeShellApplication {
    name = "photon-installer-key";
    runtimeInputs = [ pkgs.coreutils ];
    text = builtins.readFile ./installer-key.sh;
  };
in
{
  imports = [ (modulesPath + "/installer/netboot/netboot-minimal.nix") ];

  options.photoncloud.netboot.authorizedKeys = lib.mkOption {
    type = lib.types.listOf lib.types.singleLineStr;
    default = [ ];
    example = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA… operator@example" ];
    description = ''
      Public SSH keys that open a netbooted machine, as root, beside the provisioner's own, which comes on the kernel's
      command line.
    '';
  };

  config = {
    nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
    # NetworkManager, of the installation media's profile, asks DHCP for an address on every interface.
    networking.hostName = lib.mkDefault "netboot";
    # Network interfaces and storage controllers that want firmware have it on the installed host, so that they must have
    # it before; netboot-minimal leaves it out.
    hardware.firmware = [ pkgs.linux-firmware ];
    # nixos-anywhere reads in /etc/os-release that this is no system to be replaced by kexec.
    system.nixos.variant_id = lib.mkDefault "installer";
    # The profile of installation media forces the manual in, which nobody reads here.
    documentation.nixos.enable = lib.mkOverride 10 false;
    boot.kernelParams = [
      "console=tty0"
      "console=ttyS0,115200n8"
    ];

    services.openssh = {
      enable = true;
      settings = {
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        PermitRootLogin = "prohibit-password";
      };
    };
    users.users.root.openssh.authorizedKeys.keys = cfg.authorizedKeys;

    systemd.services.photon-installer-key = {
      description = "Lets PhotonCloud's installer in";
      wantedBy = [ "multi-user.target" ];
      before = [ "sshd.service" ];
      unitConfig.ConditionKernelCommandLine = "photon.ssh_key";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        UMask = "0077";
        ExecStart = "${installerKey}/bin/photon-installer-key /proc/cmdline /root/.ssh/authorized_keys";
      };
    };

    # The provisioner's URL is on the kernel's command line. It goes on reporting, because an installation begins on a
    # report, and ends when the machine is installed.
    systemd.services.photon-report = {
      description = "Tells PhotonCloud's provisioner of this machine";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        "sshd.service"
      ];
      unitConfig = {
        ConditionKernelCommandLine = "photon.provisioner";
        StartLimitIntervalSec = 0;
        SuccessAction = "reboot";
      };
      serviceConfig = {
        ExecStart = "${config.photoncloud.package}/bin/photon-enrol report --ssh-host-key /etc/ssh/ssh_host_ed25519_key.pub";
        Restart = "on-failure";
        RestartSec = "5s";
      };
    };

    # What the provisioner serves, and a script for other boot servers.
    system.build.photonNetboot = pkgs.linkFarm "photon-netboot" [
      {
        name = "bzImage";
        path = "${config.system.build.kernel}/${config.system.boot.loader.kernelFile}";
      }
      {
        name = "initrd";
        path = "${config.system.build.netbootRamdisk}/initrd";
      }
      {
        name = "cmdline";
        path = pkgs.writeText "cmdline" "init=${config.system.build.toplevel}/init ${toString config.boot.kernelParams}\n";
      }
      {
        name = "netboot.ipxe";
        path = "${config.system.build.netbootIpxeScript}/netboot.ipxe";
      }
    ];
  };
}
