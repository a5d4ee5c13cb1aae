#!/bin/sh
# First thing on a rack host: the folder shared with the machine outside, the management address
# (kept away from networkd, so that no test can cut the branch it sits on) and the underlay's.
# What differs from host to host comes on the kernel command line: rack.host=N rack.share=DIR.
set -eu
for word in $(cat /proc/cmdline); do
  case $word in
    rack.host=*) number=${word#*=} ;;
    rack.share=*) share=${word#*=} ;;
  esac
done
mkdir -p /run/rack/share /run/systemd/network
mount -t hostfs none /run/rack/share -o "hostfs=$share"
ip link set lo up
# The vector driver loses TCP segments that it should have cut itself: connections that carry more than
# a few MB stall. Cut in software, 100 MB/s and more go through.
for interface in vec0 vec1; do
  ethtool -K "$interface" tso off gso off
done
ip link set vec1 up
ip address add "198.51.100.$number/24" dev vec1
cat > /run/systemd/network/00-rack-management.network <<EOF
[Match]
Name=vec1
[Link]
Unmanaged=yes
EOF
cat > /run/systemd/network/01-rack-underlay.network <<EOF
[Match]
Name=vec0
[Network]
Address=192.0.2.$number/24
LinkLocalAddressing=no
IPv6AcceptRA=no
EOF
echo "RACK_ADDRESS=198.51.100.$number" > /run/rack/environment
