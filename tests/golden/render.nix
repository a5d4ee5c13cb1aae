# What hosts get from their configurations, as files: nixosConfigurations -> { <host>.<directory>.<file> = text; }.
configurations:
let
  ourUnits = builtins.attrNames (builtins.readDir ../../modules/units);

  # Each program's settings with the example of every option: what a program does not know would be found here.
  examples =
    { options, lib, ... }:
    let
      toml = import ../../modules/toml.nix { inherit lib; };
      exampleOf =
        option:
        if lib.isOption option then
          option.example
        else
          lib.mapAttrs (_: exampleOf) (
            removeAttrs option [
              "_module"
              "_freeformOptions"
            ]
          );
      settings = option: toml (exampleOf (option.type.getSubOptions [ ]));
      table = import ../../modules/components/table.nix { inherit lib; };
    in
    {
      etc.photoncloud = lib.mapAttrs' (
        name: program:
        lib.nameValuePair "${name}.toml" (
          settings (lib.getAttrFromPath program.option options.photoncloud).settings
        )
      ) table.programs;
    };

  render =
    _:
    { config, lib, ... }:
    let

      # "/nix/store/<hash>-coreutils-9.7/bin" -> "@coreutils@/bin"; a version may change without a golden file's.
      placeholders =
        text:
        lib.concatMapStrings
          (
            part:
            if builtins.isList part then "@${(builtins.parseDrvName (builtins.head part)).name}@" else part
          )
          (
            builtins.split "/nix/store/[0-9a-z]{32}-([A-Za-z0-9+._?=-]+)" (
              builtins.unsafeDiscardStringContext text
            )
          );

      units = lib.filterAttrs (
        unit: _:
        builtins.elem unit ourUnits || lib.hasPrefix "photon-" unit || lib.hasPrefix "dnsmasq." unit
      ) config.systemd.units;

      # A unit that the package brings gets a drop-in from NixOS.
      unitFiles = lib.mapAttrs' (unit: value: {
        name =
          if builtins.elem unit ourUnits then
            "etc/systemd/system/${unit}.d/overrides.conf"
          else
            "etc/systemd/system/${unit}";
        value = value.text;
      }) units;

      settings = lib.mapAttrs' (program: value: {
        name = "etc/photoncloud/${program}.toml";
        value = value.text;
      }) config.photoncloud.programs;

      network = lib.mapAttrs' (unit: value: {
        name = "etc/systemd/network/${unit}";
        value = value.text;
      }) config.systemd.network.units;

      etc =
        lib.mapAttrs'
          (file: value: {
            name = "etc/${file}";
            value = value.text;
          })
          (
            lib.filterAttrs (
              file: value:
              value.enable
              && value.text != null
              && builtins.elem file [
                "dnsmasq.conf"
                "photoncloud/provisioner-endpoint"
              ]
            ) config.environment.etc
          );

      wants = lib.concatLists (
        lib.mapAttrsToList (unit: value: map (target: "${target} wants ${unit}\n") value.wantedBy) units
      );

      files = unitFiles // settings // network // etc // { enabled = lib.concatStrings wants; };
    in
    lib.foldl' lib.recursiveUpdate { } (
      lib.mapAttrsToList (
        path: text: lib.setAttrByPath (lib.splitString "/" path) (placeholders text)
      ) files
    );
in
builtins.mapAttrs render (
  # Not the netboot image: it runs none of our daemons.
  removeAttrs configurations [ "netboot" ]
)
// {
  examples = examples configurations.node01;
}
