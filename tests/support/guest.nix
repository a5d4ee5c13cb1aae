# The guest that photon-e2e boots: nixpkgs' kernel, and busybox with the init that the rack's guests have
# (crates/xtask/assets/guest).
{ lib, pkgs }:
let
  kernel = pkgs.linuxPackages.kernel;
  source = ../../crates/xtask/assets/guest;
  # What that init asks for; what is built in, or needed by these, is found out.
  modules = [
    "virtio_pci"
    "virtio_net"
    "virtio_blk"
    "cdrom"
    "isofs"
    "vfat"
    "nls_cp437"
    "nls_iso8859_1"
    "evdev"
    "button"
  ];
  image =
    pkgs.runCommand "photon-test-guest"
      {
        nativeBuildInputs = [
          pkgs.cpio
          pkgs.kmod
          pkgs.xz
          pkgs.zstd
        ];
      }
      ''
        mkdir -p root/bin root/etc root/modules $out
        cp ${pkgs.pkgsStatic.busybox}/bin/busybox root/bin/busybox
        install -m 755 ${source}/init.sh root/init
        install -m 755 ${source}/dhcp.sh root/etc/dhcp
        for module in ${lib.concatStringsSep " " modules}; do
          modprobe --config no-config -d ${lib.getOutput "modules" kernel} --set-version ${kernel.modDirVersion} \
            --show-depends "$module" || echo "not in this kernel: $module" >&2
        done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' > list
        grep -q virtio_net list
        while read -r file; do
          name=$(basename "$file")
          case $name in
            *.xz) xz -dc "$file" > "root/modules/''${name%.xz}" ;;
            *.zst) zstd -dc "$file" > "root/modules/''${name%.zst}" ;;
            *) cp "$file" root/modules/ ;;
          esac
          echo "$name" | sed 's/\.xz$//; s/\.zst$//' >> root/modules/order
        done < list
        (cd root && find . | sort | cpio --quiet -o -H newc -R +0:+0 --reproducible) | gzip -9n > $out/initrd
        cp ${kernel}/bzImage $out/kernel
      '';
in
{
  kernel = "${image}/kernel";
  initrd = "${image}/initrd";
}
