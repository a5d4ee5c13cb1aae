#!/bin/bash
# Stands in for nixos-anywhere where no NixOS closure can be built: takes the arguments that the provisioner
# gives it, and does over SSH what it would do, with a Debian system in the closure's place:
# /usr/lib/stand-in/system.tar.zst for all hosts, /usr/lib/stand-in/HOST.tar.zst for what the flake says of one.
set -euo pipefail

flake='' target='' extra='' phases='' key=''
while [ $# -gt 0 ]; do
  case $1 in
    --flake) flake=$2 ;;
    --target-host) target=$2 ;;
    --extra-files) extra=$2 ;;
    --phases) phases=$2 ;;
    -i) key=$2 ;;
    *)
      echo "nixos-anywhere's stand-in does not know $1" >&2
      exit 2
      ;;
  esac
  shift 2
done
host=${flake#*#}
closures=/usr/lib/stand-in
for value in "$flake" "$target" "$extra" "$phases" "$key" "$host"; do
  [ -n "$value" ] || { echo "--flake, --target-host, --extra-files, --phases and -i are needed" >&2; exit 2; }
done
[ -f "$closures/$host.tar.zst" ] || { echo "the flake has no host $host" >&2; exit 1; }

on_target() {
  ssh -i "$key" -o BatchMode=yes -o LogLevel=ERROR -o StrictHostKeyChecking=yes \
    -o "UserKnownHostsFile=$PHOTON_KNOWN_HOSTS" "$target" "$@"
}

for phase in ${phases//,/ }; do
  echo "### $phase of $host on $target"
  case $phase in
    disko)
      # Without what the boot loader cannot read of ext4.
      on_target "set -e
        printf 'label: gpt\ntype=linux, attrs=LegacyBIOSBootable\n' | sfdisk --quiet /dev/vda
        mkfs.ext4 -q -F -O ^64bit,^metadata_csum,^orphan_file /dev/vda1
        mount /dev/vda1 /mnt"
      ;;
    install)
      for closure in system "$host"; do
        on_target 'zstd -dc | tar -x -C /mnt' < "$closures/$closure.tar.zst"
        echo "copied $closure"
      done
      # A copy, not a move: what was there keeps its modes.
      tar -c --owner=0 --group=0 -C "$extra" . | on_target 'tar -x -C /mnt'
      # The group is NixOS's to make (modules/components/plasmavmc.nix).
      on_target "set -e
        echo photoncloud-metadata:x:901: >> /mnt/etc/group
        extlinux --install /mnt/boot/extlinux
        dd if=/usr/lib/EXTLINUX/gptmbr.bin of=/dev/vda bs=440 count=1 conv=notrunc
        umount /mnt
        sync"
      ;;
    reboot)
      # The connection may end before the command does.
      on_target 'reboot -f > /dev/null 2>&1 < /dev/null &' || true
      ;;
    *)
      echo "nixos-anywhere's stand-in does not know the phase $phase" >&2
      exit 2
      ;;
  esac
done
echo "### installed"
