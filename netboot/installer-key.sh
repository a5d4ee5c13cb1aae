# usage: photon-installer-key CMDLINE AUTHORIZED_KEYS: adds the key after photon.ssh_key= in the kernel's command line.
mkdir -p "$(dirname "$2")"
# The line may lack its end, at which read fails though it has read.
read -ra words <"$1" || true
for word in "${words[@]}"; do
  case $word in
    photon.ssh_key=*)
      key=${word#*=}
      printf '%s\n' "${key//%20/ }" >>"$2"
      ;;
  esac
done
