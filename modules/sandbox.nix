# sandbox.conf as `serviceConfig` takes it, for services whose units Nix writes.
{ lib }:
let
  lines = lib.filter (line: line != "" && !lib.hasPrefix "#" line) (
    lib.splitString "\n" (builtins.readFile ./sandbox.conf)
  );
  setting =
    line:
    let
      parts = builtins.match "([A-Za-z]+)=(.*)" line;
    in
    {
      ${builtins.head parts} = builtins.elemAt parts 1;
    };
in
# Of a key that stands there more than once, all values.
lib.zipAttrsWith (_: values: if builtins.tail values == [ ] then builtins.head values else values) (
  map setting lines
)
