# The programs of this host that keep a store: all but the agents.
{ config, lib }:
lib.filter (program: !lib.hasSuffix "-agent" program) (lib.attrNames config.photoncloud.programs)
