# The host's disks, as disko lays them out: GPT, boot partition and root on one disk; on a second one, if there is one,
# what the host keeps: stores, images, virtual machines' disks.
{
  config,
  lib,
  options,
  ...
}:
let
  cfg = config.photoncloud;
  inherit (cfg) disks roles;
  hasDisko = options ? disko;
  isHost = roles.controlPlane.enable || roles.compute.enable || roles.allInOne.enable;
  # The servers' units name the group; above the users that systemd makes, below those of virtual machines.
  storesGroup = 1610612735;

  fileSystem = mountpoint: {
    type = "filesystem";
    format = "ext4";
    inherit mountpoint;
    # Tenants' disks are on the file system of the stores, unless somebody has made two. What mke2fs reserves of it (5 %) is
    # for root, and so (ext4(5), resgid) for the stores' servers: they write on when guests have filled the rest.
    mountOptions = [
      "noatime"
      "resgid=${toString storesGroup}"
    ];
  };
in
{
  options.photoncloud.disks = {
    system = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      example = "/dev/disk/by-id/nvme-SAMSUNG_MZVL21T0HCLR-00B00_S676NX0R000000";
      description = ''
        The disk that the system is installed to; **installing erases it**. Use a name of /dev/disk/by-id, which stays
        when disks are added. null: the host's file systems are written by hand.
      '';
    };
    state = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      example = "/dev/disk/by-id/nvme-SAMSUNG_MZVL21T0HCLR-00B00_S676NX0R000001";
      description = "A disk for /var/lib (stores, images, virtual machines' disks), erased by installing too; null: that is on the system's disk.";
    };
  };

  config = lib.mkMerge [
    {
      assertions = [
        {
          assertion = !isHost || disks.system != null || config.fileSystems ? "/";
          message = "photoncloud.disks.system is not set, and fileSystems has no \"/\": ${config.networking.hostName} has no disk to be installed to. Write the disk's name under /dev/disk/by-id.";
        }
        {
          assertion = disks.system == null || hasDisko;
          message = "photoncloud.disks needs disko's module. Import photoncloud's nixosModules.default, which has it, or disko.nixosModules.disko.";
        }
        {
          assertion = disks.state == null || disks.system != null;
          message = "photoncloud.disks.state is set, but photoncloud.disks.system is not. Write the disk of the system too.";
        }
        {
          assertion = disks.state == null || disks.state != disks.system;
          message = "photoncloud.disks.state and photoncloud.disks.system are the same disk, ${toString disks.system}. Name another one, or leave state out.";
        }
      ];
    }
    (lib.mkIf isHost { users.groups.photoncloud-stores.gid = storesGroup; })
    (lib.optionalAttrs hasDisko {
      disko.devices.disk = lib.mkIf (disks.system != null) {
        system = {
          type = "disk";
          device = disks.system;
          content = {
            type = "gpt";
            partitions = {
              ESP = {
                type = "EF00";
                # Kernels of several generations, to roll back to.
                size = "1G";
                content = {
                  type = "filesystem";
                  format = "vfat";
                  mountpoint = "/boot";
                  mountOptions = [ "umask=0077" ];
                };
              };
              root = {
                size = "100%";
                content = fileSystem "/";
              };
            };
          };
        };
        state = lib.mkIf (disks.state != null) {
          type = "disk";
          device = disks.state;
          content = {
            type = "gpt";
            partitions.state = {
              size = "100%";
              # All of it, because systemd keeps the stores of servers with DynamicUser= below /var/lib/private.
              content = fileSystem "/var/lib";
            };
          };
        };
      };
    })
  ];
}
