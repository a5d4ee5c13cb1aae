# Tells what a host is and runs, on standard output: sections that begin with a line `#section NAME`. It changes
# nothing. Run by bash as root, over SSH; it needs what every NixOS has.
export LC_ALL=C SYSTEMD_PAGER= SYSTEMD_COLORS=0
section() { printf '#section %s\n' "$1"; }
fact() { printf '%s\t%s\n' "$1" "$2"; }

section facts
fact hostname "$(uname -n)"
fact kernel "$(uname -r)"
fact closure "$(readlink -f /run/current-system)"
fact profile "$(readlink -f /nix/var/nix/profiles/system)"
fact generation "$(readlink /nix/var/nix/profiles/system)"
fact nixos "$(cat /run/current-system/nixos-version 2>/dev/null)"
# These take a boot to change (what NixOS' own reboot check compares).
for part in kernel initrd kernel-modules; do
  for system in booted current; do
    link=/run/$system-system/$part
    [ ! -e "$link" ] || fact $system "$part $(readlink -f "$link")"
  done
done

section failed
systemctl list-units --state=failed --plain --no-legend --no-pager | cut -d' ' -f1

wanted=$(systemctl show -P Wants photon.target)
section units
systemctl show --no-pager \
  -p Id,Type,ActiveState,SubState,Result,MainPID,NRestarts,StatusText photon.target $wanted

section programs
for unit in $wanted; do
  pid=$(systemctl show -P MainPID "$unit")
  case $unit in *.service) ;; *) continue ;; esac
  [ "${pid:-0}" -gt 0 ] || continue
  set -- $(systemctl show -P ExecStart "$unit" | sed -n 's/.*path=\([^ ;]*\).*/\1/p')
  program=$(readlink -f "$1")
  running=$(readlink "/proc/$pid/exe")
  version=
  # Only programs of PhotonCloud are named as their units.
  if [ "${1##*/}" = "${unit%.service}" ]; then
    version=$(timeout 10 "/proc/$pid/exe" --version 2>/dev/null | head -n 1)
  fi
  printf '%s\t%s\t%s\t%s\n' "$unit" "$program" "$running" "$version"
done

# Where the servers listen: what their processes were given.
section settings
for unit in $wanted; do
  pid=$(systemctl show -P MainPID "$unit")
  [ "${pid:-0}" -gt 0 ] && [ -r "/proc/$pid/environ" ] || continue
  for name in PHOTON_LISTEN PHOTON_PORT PHOTON_TLS_CERTIFICATE; do
    value=$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n "s/^$name=//p" | head -n 1)
    [ -z "$value" ] || printf '%s\t%s\t%s\n' "$unit" "$name" "$value"
  done
  file=$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^PHOTON_CONFIG=//p' | head -n 1)
  if [ -n "$file" ] && [ -r "$file" ]; then
    sed "s/^/$unit	file	/" "$file"
  fi
done

section vms
systemctl show --no-pager -p Id,ActiveState,MainPID,InvocationID 'photon-vm-*.service'

section files
for file in ca host; do
  path=/var/lib/photoncloud/pki/$file.pem
  [ ! -r "$path" ] || sed "s/^/$file	/" "$path"
done

section journal
for unit in $wanted; do
  case $(systemctl show -P ActiveState "$unit") in active) continue ;; esac
  journalctl --no-pager -q -o cat -n 2 -u "$unit" | cut -c1-300 | sed "s/^/$unit	/"
done
section end
