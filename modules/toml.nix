# TOML (https://toml.io/en/v1.0.0) of an attribute set, rendered by evaluation: what a host gets is known without
# building it, and can be kept as a golden file. Attributes that are null are left out, for TOML has no null.
{ lib }:
let
  isTable = value: builtins.isAttrs value && !lib.isDerivation value;

  key = name: if builtins.match "[A-Za-z0-9_-]+" name != null then name else builtins.toJSON name;

  # The escapes of a JSON string are TOML's too.
  value =
    it:
    if builtins.isString it || builtins.isPath it || lib.isDerivation it then
      builtins.toJSON (toString it)
    else if builtins.isList it then
      "[${lib.concatMapStringsSep ", " value it}]"
    else if isTable it then
      "{ ${
        lib.concatStringsSep ", " (lib.mapAttrsToList (name: inner: "${key name} = ${value inner}") it)
      } }"
    else
      builtins.toJSON it;

  withoutNull =
    it:
    if isTable it then
      lib.mapAttrs (_: withoutNull) (lib.filterAttrs (_: inner: inner != null) it)
    else if builtins.isList it then
      map withoutNull it
    else
      it;

  table =
    path: attributes:
    let
      tables = lib.filterAttrs (_: isTable) attributes;
      plain = lib.filterAttrs (_: it: !isTable it) attributes;
      header = lib.optional (path != [ ] && plain != { }) "[${lib.concatMapStringsSep "." key path}]";
      lines = lib.mapAttrsToList (name: it: "${key name} = ${value it}") plain;
      section = lib.optional (plain != { }) (lib.concatLines (header ++ lines));
    in
    section ++ lib.concatLists (lib.mapAttrsToList (name: table (path ++ [ name ])) tables);
in
settings: lib.concatStringsSep "\n" (table [ ] (withoutNull settings))
