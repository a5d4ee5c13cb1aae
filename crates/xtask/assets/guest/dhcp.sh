#!/bin/busybox sh
# What udhcpc calls with each answer (its variables: busybox, examples/udhcp/simple.script).
case $1 in
  deconfig) ip -4 address flush dev "$interface" scope global ;;
  bound | renew)
    ip address replace "$ip/$mask" dev "$interface"
    for gateway in $router; do ip route replace default via "$gateway" dev "$interface"; done
    : > /etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >> /etc/resolv.conf; done
    # Written down as well: a console that is opened later has not carried it.
    [ "$1" = bound ] && echo "PHOTON-GUEST lease $ip/$mask gw=${router:-none} iface=$interface mac=$(cat "/sys/class/net/$interface/address")" |
      tee -a /run/lease > /dev/ttyS0
    ;;
esac
exit 0
