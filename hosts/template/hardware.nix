# What all machines of the rack are, in one place.
{ lib, ... }:
{
  nixpkgs.hostPlatform = "x86_64-linux";

  boot.loader = {
    systemd-boot = {
      enable = true;
      # Who stands before the machine cannot start a shell in the place of the system.
      editor = false;
      configurationLimit = 20;
    };
    efi.canTouchEfiVariables = true;
  };
  boot.initrd.availableKernelModules = [
    "ahci"
    "nvme"
    "sd_mod"
    "usbhid"
    "virtio_blk"
    "virtio_net"
    "virtio_pci"
    "virtio_scsi"
    "xhci_pci"
  ];
  # A serial console is how a rack's machines are looked at.
  boot.kernelParams = [
    "console=tty0"
    "console=ttyS0,115200n8"
  ];
  hardware.enableRedistributableFirmware = true;
  hardware.cpu.amd.updateMicrocode = true;
  hardware.cpu.intel.updateMicrocode = true;

  # The disk to install to, which that erases: its name under /dev/disk/by-id. If machines differ in it, write it in each
  # host's own file. `photon machine show` has the disks of a machine that netbooted.
  photoncloud.disks.system = lib.mkDefault null;

  system.stateVersion = "26.05";
}
