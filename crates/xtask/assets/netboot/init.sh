#!/bin/busybox sh
# The first process of the initramfs of a rack's machine, in both of its lives: started from its own
# disk (`root=` on the kernel's command line) it hands over to the system there; netbooted it is all the
# system there is: it reports what machine this is, lets the holder of the key in, and waits.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /mnt /sbin /usr/bin /usr/sbin /root
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
exec > /dev/console 2>&1 < /dev/null

say() { echo "PHOTON-MACHINE $*"; }

while read -r module; do insmod "/modules/$module" 2>/dev/null; done < /modules/order
root= provisioner= key=
for word in $(cat /proc/cmdline); do
  case $word in
    root=*) root=${word#*=} ;;
    photon.provisioner=*) provisioner=${word#*=} ;;
    photon.ssh_key=*) key=${word#*=} ;;
  esac
done

if [ -n "$root" ]; then
  say "starting from $root"
  mount -o rw "$root" /mnt
  mount --move /dev /mnt/dev
  mount --move /proc /mnt/proc
  mount --move /sys /mnt/sys
  exec switch_root /mnt /sbin/init
  say "cannot start from $root"
fi

mkdir -p /dev/pts /etc/dropbear
mount -t devpts none /dev/pts
# What is reported from here on must not be lost between the kernel's own lines.
echo 3 > /proc/sys/kernel/printk
hostname netboot
ip link set lo up
for path in /sys/class/net/*; do
  interface=${path##*/}
  [ "$interface" = lo ] && continue
  ip link set "$interface" up
  udhcpc -q -f -n -t 20 -T 1 -A 1 -i "$interface" -s /etc/dhcp
done
# Fresh at every boot: an image that anyone can read holds no private key.
dropbearkey -t ed25519 -f /etc/dropbear/host-key > /dev/null
dropbearkey -y -f /etc/dropbear/host-key | grep '^ssh-' > /etc/dropbear/host-key.pub
mkdir -p /root/.ssh
echo "$key" | sed 's/%20/ /g' > /root/.ssh/authorized_keys
# -E: who connects is said on the console.
dropbear -E -r /etc/dropbear/host-key -s -j -k
say "ssh is open"
until photon-enrol report --provisioner "$provisioner" --ssh-host-key /etc/dropbear/host-key.pub; do
  say "the report ended with $?"
  sleep 1
done
say "has a system on its disk; restarting"
reboot -f
