#!/bin/busybox sh
# All that stands between the kernel and the disk.
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox insmod /virtio_blk.ko
until [ -b /dev/vda1 ]; do :; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda1 /root
exec /bin/busybox switch_root /root /sbin/init
