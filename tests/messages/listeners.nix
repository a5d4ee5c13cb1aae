# What evaluation must say of each server that others could reach without TLS, or whose key everybody could read. `first`
# is the host of a cluster's control plane, with more.
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
in
builtins.listToAttrs (builtins.concatMap cases table.component)
