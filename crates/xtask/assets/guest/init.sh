#!/bin/busybox sh
# The whole user space of a test guest. What it has to say it says on the first serial line, in lines
# that begin with PHOTON-GUEST; then it gives a shell there.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /seed /etc /root /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
export PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/root TERM=dumb
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/pts && mount -t devpts none /dev/pts
mount -t tmpfs none /run
# A guest must not speak unasked on its console: what the kernel logs stays in dmesg.
echo 1 > /proc/sys/kernel/printk
exec > /dev/ttyS0 2>&1 < /dev/ttyS0

say() { echo "PHOTON-GUEST $*"; }

while read -r module; do insmod "/modules/$module" 2>/dev/null; done < /modules/order

hostname guest
for disk in /dev/vd? /dev/sr0; do
  [ -b "$disk" ] || continue
  for kind in iso9660 vfat; do
    mount -t $kind -o ro "$disk" /seed 2>/dev/null || continue
    [ -e /seed/meta-data ] && break 2
    umount /seed
  done
done
if [ -e /seed/meta-data ]; then
  name=$(sed -n 's/^local-hostname: *"\{0,1\}\([A-Za-z0-9.-]*\).*/\1/p' /seed/meta-data)
  instance=$(sed -n 's/^instance-id: *"\{0,1\}\([A-Za-z0-9.-]*\).*/\1/p' /seed/meta-data)
  [ -n "$name" ] && hostname "$name"
  say "seed instance=$instance hostname=$(hostname)"
else
  say "seed none"
fi

# The power button asks for a clean end (QMP system_powerdown).
for event in /dev/input/event*; do
  [ -e "$event" ] || continue
  # An input event is 24 bytes; a press of the button is type 1 (EV_KEY), code 116 (KEY_POWER).
  ( while data=$(dd if="$event" bs=24 count=1 2>/dev/null | hexdump -v -e '1/2 "%u "' ); do
      set -- $data
      [ "$9" = 1 ] && [ "${10}" = 116 ] && {
        say "powerdown"
        # A test may want something of it to outlast the guest.
        [ -x /run/on-powerdown ] && /run/on-powerdown
        poweroff -f
      }
    done ) &
done

ip link set lo up
for path in /sys/class/net/*; do
  interface=${path##*/}
  [ "$interface" = lo ] && continue
  ip link set "$interface" up
  say "link $interface mac=$(cat "$path/address")"
  # Asks again every second until it is answered, then renews for as long as the guest lives.
  udhcpc -f -q -n -t 0 -T 1 -A 1 -i "$interface" -s /etc/dhcp >/dev/null 2>&1 -x "hostname:$(hostname)" &
done
say "ready hostname=$(hostname)"
while :; do
  setsid cttyhack sh -i
done
