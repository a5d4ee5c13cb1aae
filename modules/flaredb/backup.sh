# usage: photon-backup DIRECTORY KEEP SERVER…
# Copies each server's store to DIRECTORY/SERVER/<time>.sqlite and keeps the KEEP newest copies. A copy has its name only
# when it is whole. One server's failure does not keep the others from theirs; the end tells.
directory=$1
keep=$2
shift 2
failed=0
for server; do
  mkdir -p "$directory/$server"
  copy=$directory/$server/$(date -u +%Y-%m-%dT%H-%M-%SZ).sqlite
  rm -f "$directory/$server"/*.partial
  if ! "${PHOTON_BIN:?}/$server" backup --to "$copy.partial"; then
    echo "$server: no copy was made" >&2
    failed=1
    continue
  fi
  mv "$copy.partial" "$copy"
  # Names are times, so their order is that of the copies.
  copies=("$directory/$server"/*.sqlite)
  excess=$((${#copies[@]} - keep))
  for ((index = 0; index < excess; index++)); do
    rm "${copies[index]}"
  done
  echo "$server: $copy"
done
exit "$failed"
