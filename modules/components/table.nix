# The components and their programs, of the table that Rust reads too: crates/api/components.toml.
{ lib }:
let
  inherit (lib.importTOML ../../crates/api/components.toml) component;
  byName = list: lib.listToAttrs (map (it: lib.nameValuePair it.name it) list);
in
rec {
  components = byName component;

  # By the name of the program, which is its unit's too. `component` is what it is of, `option` the path below
  # `photoncloud` of its options.
  programs = byName (
    lib.concatMap (
      component:
      map (
        program:
        program
        // {
          inherit component;
          option = [ component.name ] ++ lib.optional (program.kind == "agent") "agent";
        }
      ) component.program
    ) component
  );

  # Each answers an API, and keeps a store.
  servers = lib.filterAttrs (_: program: program.kind == "server") programs;

  # Every port on which a program listens by default, in order.
  ports = lib.unique (
    lib.sort lib.lessThan (
      lib.concatMap (
        component:
        [ component.port ]
        ++ component.more_ports or [ ]
        ++ map (program: program.metrics_port or (component.port + 1000)) component.program
      ) component
    )
  );

  ofRole = role: lib.filterAttrs (_: program: (program.role or null) == role) programs;
}
