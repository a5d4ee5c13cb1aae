# What evaluation must say of each server that others could reach without TLS, and of each program whose key everybody
# could read. `first` is the host of a cluster's control plane, with more.
{ first }:
let
  table = builtins.fromTOML (builtins.readFile ../../crates/api/components.toml);
  cases =
    { name, ... }:
    let
      ofServer =
        settings:
        first {
          photoncloud.${name} = {
            enable = true;
            inherit settings;
          };
        };
    in
    [
      {
        name = "${name}-without-tls";
        value = {
          of = ofServer { tls.key = null; };
          message = "photoncloud.${name}.settings.listen = \"192.0.2.1\" can be reached by others, so it must speak TLS. Set photoncloud.${name}.settings.tls.certificate and .key, or listen on 127.0.0.1.";
        };
      }
      {
        name = "${name}-key-in-the-store";
        value = {
          of = ofServer { tls.key = builtins.toFile "key.pem" "secret"; };
          message = "photoncloud.${name}.settings.tls.key = \"/nix/store/";
        };
      }
    ];
  callers =
    { name, program, ... }:
    map (
      its:
      let
        agent = its.kind == "agent";
        enabled = {
          enable = true;
          settings.endpoints.key = builtins.toFile "key.pem" "secret";
        };
      in
      {
        name = "${its.name}-endpoints-key-in-the-store";
        value = {
          of = first { photoncloud.${name} = if agent then { agent = enabled; } else enabled; };
          message = "photoncloud.${name}${
            if agent then ".agent" else ""
          }.settings.endpoints.key = \"/nix/store/";
        };
      }
    ) (builtins.filter (its: its.calls != [ ]) program);
in
builtins.listToAttrs (
  builtins.concatMap cases table.component ++ builtins.concatMap callers table.component
)
