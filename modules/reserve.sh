# usage: photon-reserve GID
# Lets the group GID write into what ext4 reserves for root on the file system of PhotonCloud's stores (mount option
# resgid, ext4(5)). Other file systems have no such reserve: tell so, and go on.
directory=/var/lib/photoncloud
test -d "$directory" || directory=/var/lib
kind=$(findmnt --noheadings --output FSTYPE --target "$directory")
place=$(findmnt --noheadings --output TARGET --target "$directory")
if test "$kind" = ext4; then
  mount -o "remount,resgid=$1" "$place"
else
  echo "<4>$place is $kind, which reserves nothing: tenants' disks can fill it, and the stores with it. Put /var/lib/photoncloud/plasmavmc-agent on a file system of its own." >&2
fi
