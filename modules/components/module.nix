# A component's options, `photoncloud.<name>`, and its programs on the hosts that enable them. For each of its programs
# there is an argument, by its kind:
#   description  of `enable`
#   own          the options of the section that only this program has, of a function that makes them; see
#                ../programs/settings.nix
#   example      of `settings`
#   path         of pkgs, the packages whose programs it runs
{ name, ... }@component:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  table = import ./table.nix { inherit lib; };
  types = import ../programs/settings.nix { inherit lib pkgs; };
  programs = lib.filterAttrs (_: program: program.component.name == name) table.programs;
  # For each program: what it is, what is said of it here, and what the host says of it.
  eachProgram =
    make:
    lib.mkMerge (
      lib.mapAttrsToList (
        _: program:
        make program component.${program.kind} (lib.getAttrFromPath program.option config.photoncloud)
      ) programs
    );
  options =
    program:
    let
      its = component.${program.kind};
    in
    {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        inherit (its) description;
      };
      settings = lib.mkOption {
        type = types.settings program (its.own or (_: { }));
        default = { };
        inherit (its) example;
        description = "Settings of ${program.name}: /etc/photoncloud/${program.name}.toml.";
      };
      limits = {
        memoryHigh = lib.mkOption {
          type = lib.types.nullOr lib.types.str;
          default = null;
          example = "6G";
          description = "Memory above which ${program.name} is slowed down (MemoryHigh of systemd.resource-control(5)); null: what its unit says.";
        };
        memoryMax = lib.mkOption {
          type = lib.types.nullOr lib.types.str;
          default = null;
          example = "8G";
          description = "Memory above which ${program.name} is ended and started anew (MemoryMax of systemd.resource-control(5)); null: what its unit says.";
        };
        tasksMax = lib.mkOption {
          type = lib.types.nullOr lib.types.ints.positive;
          default = null;
          example = 4096;
          description = "How many threads and processes ${program.name} may have (TasksMax of systemd.resource-control(5)); null: what its unit says.";
        };
      };
    };
in
{
  imports = [
    ../programs
    ../dataplane.nix
  ];

  options.photoncloud = lib.foldl' lib.recursiveUpdate { } (
    lib.mapAttrsToList (_: program: lib.setAttrByPath program.option (options program)) programs
  );

  config = eachProgram (
    program: its: cfg:
    lib.mkIf cfg.enable {
      photoncloud.programs.${program.name} = {
        inherit (cfg) settings limits;
        path = lib.optionals (its ? path) (its.path pkgs);
      };
      photoncloud.dataplane.enable = lib.mkIf (program.kind == "agent") true;
    }
  );
}
