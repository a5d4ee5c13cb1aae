# The options as a page of Markdown (docs/operations/options.md): options -> text.
{ lib, options }:
let
  documented = lib.filter (option: option.visible && !option.internal) (
    lib.optionAttrSetToDocList options
  );
  groupOf = option: lib.concatStringsSep "." (lib.take 2 option.loc);
  groups = lib.groupBy groupOf documented;

  # One line, for a value between backquotes.
  line =
    text:
    lib.concatStringsSep " " (
      lib.filter (word: builtins.isString word && word != "") (builtins.split "[ \n]+" text)
    );
  # What a text must match is told in words by its description, and again when it does not.
  typeOf = option: line (builtins.head (lib.splitString " matching the pattern " option.type));
  value = name: it: lib.optional (it ? text) "- ${name}: `${line it.text}`";

  one =
    option:
    lib.concatStringsSep "\n" (
      [
        "### ${option.name}"
        ""
        (lib.trim option.description)
        ""
        "- type: `${typeOf option}`"
      ]
      ++ value "default" (option.default or { })
      ++ value "example" (option.example or { })
    );
  group =
    name: members:
    let
      sorted = lib.sort (a: b: a.name < b.name) members;
    in
    lib.concatStringsSep "\n\n" ([ "## ${name}" ] ++ map one sorted);
in
''
  # Options of the NixOS modules

  Every option below `photoncloud`. This page is made from the modules (`tests/golden/refresh`); `nix build .#options` makes
  it as they are now.

  ${lib.concatStringsSep "\n\n" (lib.mapAttrsToList group groups)}
''
