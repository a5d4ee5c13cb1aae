# Machines and the hosts' certificates: photon-provisioner, and the cluster's certificate authority on the same host.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.photoncloud.provisioner;
  inherit (config.photoncloud) bootServer cluster node;
  table = import ./table.nix { inherit lib; };
  self = cluster.nodes.${node} or null;
  section = cfg.settings.provisioner;
  bootPort = builtins.head table.components.provisioner.more_ports;
  installs = section.flake != null;

  # nixos-anywhere takes any SSH host key. The provisioner knows the one that the machine told of, in a file; the first
  # value of an option counts (ssh_config(5)), so that of nixos-anywhere comes too late.
  ssh = pkgs.writeShellScriptBin "ssh" ''
    exec ${pkgs.openssh}/bin/ssh ''${PHOTON_KNOWN_HOSTS:+-o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null \
      -o UserKnownHostsFile="$PHOTON_KNOWN_HOSTS"} "$@"
  '';
  installer = pkgs.writeShellApplication {
    name = "nixos-anywhere";
    runtimeInputs = [
      ssh
      pkgs.openssh
    ];
    text = ''
      exec ${lib.getExe' cfg.installer "nixos-anywhere"} "$@"
    '';
  };
in
{
  imports = [
    (import ./module.nix {
      name = "provisioner";
      server = {
        description = ''
          Whether this host, one of the control plane, installs the cluster's other hosts and gives them their
          certificates. The certificate authority is made on it, in /var/lib/photoncloud/ca: keep a copy of that
          directory where only operators reach it.
        '';
        own = optional: {
          cluster =
            optional lib.types.str "example"
              "Name of the cluster, in its hosts' certificates; of `photoncloud.cluster`.";
          domain =
            optional lib.types.str "example.internal"
              "Domain of the hosts' names, in their certificates; of `photoncloud.cluster`.";
          node = optional lib.types.str "node01" "Name of this host; null: its host name.";
          address =
            optional lib.types.str "192.0.2.1"
              "Address of this host, in its certificate; null: the one that is listened on.";
          certificate_days =
            optional (lib.types.ints.between 1 825) 30
              "For how many days a host's certificate is good; it is renewed after two thirds of them.";
          token_minutes =
            optional (lib.types.ints.between 1 10080) 120
              "For how many minutes an installation's join token is good; not less than `install_minutes`.";
          install_minutes =
            optional (lib.types.ints.between 1 1440) 60
              "After how many minutes an installation has failed.";
          flake =
            optional lib.types.str "/etc/nixos"
              "The flake whose `nixosConfigurations` machines are installed with, without `#`; null: machines can be approved, but wait.";
          installer =
            optional lib.types.path "/run/current-system/sw/bin/nixos-anywhere"
              "The program that installs; of `photoncloud.provisioner.installer`.";
          boot_files =
            optional lib.types.path "/var/lib/photoncloud/netboot"
              "Directory with bzImage, initrd and cmdline; of `photoncloud.provisioner.bootFiles`.";
          ssh_key =
            optional lib.types.path "/var/lib/photoncloud/installer/ssh-key"
              "Private SSH key that the installer signs in to the netboot image with. Name a file of the host, never one of the flake: the Nix store is readable by everybody.";
          ssh_public_key =
            optional lib.types.singleLineStr "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA… installer@example"
              "Its public key, which the netboot image is told.";
          boot_listen =
            optional lib.types.str "192.0.2.1:8089"
              "Address and port of the boot listener, plain HTTP; null: nothing can netboot.";
          boot_url =
            optional lib.types.str "http://192.0.2.1:8089"
              "URL by which machines reach it; null: by `boot_listen`.";
          hosts = optional (lib.types.attrsOf lib.types.str) {
            node02 = "192.0.2.2";
          } "Names that a machine can be approved under, and their addresses; of `photoncloud.cluster`.";
        };
        example.provisioner = {
          flake = "/etc/nixos";
          ssh_key = "/var/lib/photoncloud/installer/ssh-key";
        };
      };
    })
  ];

  options.photoncloud.provisioner = {
    installer = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      example = lib.literalExpression "inputs.photoncloud.packages.x86_64-linux.nixos-anywhere-installer";
      description = "The package with nixos-anywhere, which installs a machine. `nixosModules.default` sets it.";
    };
    bootFiles = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      example = lib.literalExpression "inputs.photoncloud.nixosConfigurations.netboot.config.system.build.photonNetboot";
      description = "What machines netboot: a package with bzImage, initrd and cmdline. `nixosModules.default` sets it.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = self != null && builtins.elem "controlPlane" self.roles;
        message = "photoncloud.provisioner is enabled on ${node}, which is no host of a cluster's control plane. Enable it on one, where IAM is: it makes the hosts' identities there.";
      }
      {
        assertion = installs -> cfg.installer != null;
        message = "photoncloud.provisioner.settings.provisioner.flake is set, but not photoncloud.provisioner.installer. Import photoncloud's nixosModules.default, which sets it, or set it to a package with nixos-anywhere.";
      }
      {
        assertion = installs -> section.ssh_key != null && section.ssh_public_key != null;
        message = "photoncloud.provisioner.settings.provisioner.flake is set, but not ssh_key and ssh_public_key beside it. Make a key on this host (ssh-keygen -t ed25519 -f /var/lib/photoncloud/installer/ssh-key) and write both down.";
      }
      {
        assertion = section.ssh_key != null -> !lib.hasPrefix builtins.storeDir (toString section.ssh_key);
        message = "photoncloud.provisioner.settings.provisioner.ssh_key = \"${toString section.ssh_key}\" is in the Nix store, which everybody can read. Name a file that is on the host alone, as a string.";
      }
      {
        assertion = section.boot_listen != null -> cfg.bootFiles != null;
        message = "photoncloud.provisioner.settings.provisioner.boot_listen is set, but not photoncloud.provisioner.bootFiles. Import photoncloud's nixosModules.default, which sets it, or set it to a package with bzImage, initrd and cmdline.";
      }
    ];

    photoncloud.provisioner.settings.provisioner = lib.mkIf (self != null) {
      cluster = lib.mkDefault cluster.name;
      domain = lib.mkDefault cluster.domain;
      node = lib.mkDefault node;
      address = lib.mkDefault self.address;
      hosts = lib.mkDefault (lib.mapAttrs (_: it: it.address) (removeAttrs cluster.nodes [ node ]));
      installer = lib.mkIf (installs && cfg.installer != null) (
        lib.mkDefault (lib.getExe' installer "nixos-anywhere")
      );
      boot_listen = lib.mkIf bootServer.enable (lib.mkDefault "${self.address}:${toString bootPort}");
      boot_url = lib.mkIf bootServer.enable (lib.mkDefault "http://${self.address}:${toString bootPort}");
      boot_files = lib.mkIf (section.boot_listen != null && cfg.bootFiles != null) (
        lib.mkDefault "${cfg.bootFiles}"
      );
    };

    # Makes the authority and this host's own certificate, before anything here speaks TLS.
    systemd.services.photon-pki = {
      wantedBy = [ "photon.target" ];
      environment.PHOTON_CONFIG = "/etc/photoncloud/photon-provisioner.toml";
    };

    networking.firewall = {
      # Hosts enrol and renew, operators approve; it speaks TLS.
      allowedTCPPorts = [ cfg.settings.port ];
      interfaces = lib.mkIf (bootServer.enable && bootServer.interface != null) {
        ${bootServer.interface}.allowedTCPPorts = [ bootPort ];
      };
    };
  };
}
