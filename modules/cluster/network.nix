# IPv4 addresses and networks as numbers.
{ lib }:
rec {
  # 3221225985 of "192.0.2.1"; null of what is no address.
  parse =
    text:
    let
      parts = builtins.match "([0-9]{1,3})\\.([0-9]{1,3})\\.([0-9]{1,3})\\.([0-9]{1,3})" text;
      # Leading zeros are octal to some readers: refused.
      number = part: if builtins.match "0|[1-9][0-9]*" part == null then 256 else builtins.fromJSON part;
      numbers = map number parts;
    in
    if parts == null || lib.any (byte: byte > 255) numbers then
      null
    else
      lib.foldl' (sum: byte: sum * 256 + byte) 0 numbers;

  # { first; size; prefix; } of "192.0.2.0/24"; null of what is no network, or has bits of a host.
  parseNetwork =
    text:
    let
      parts = builtins.match "([0-9.]+)/([1-9]|[12][0-9]|3[0-2])" text;
      first = parse (builtins.elemAt parts 0);
      prefix = builtins.fromJSON (builtins.elemAt parts 1);
      size = lib.foldl' (product: _: product * 2) 1 (lib.range 1 (32 - prefix));
    in
    if parts == null || first == null || lib.mod first size != 0 then
      null
    else
      { inherit first size prefix; };

  # Whether a host can have the address: neither the network's own nor its broadcast address.
  isHostOf = network: address: address > network.first && address < network.first + network.size - 1;
}
