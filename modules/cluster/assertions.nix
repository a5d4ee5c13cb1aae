# What cannot work, and what to write instead.
{ config, lib, ... }:
let
  cfg = config.photoncloud;
  inherit (cfg) cluster roles;
  parsing = import ./network.nix { inherit lib; };
  table = import ../components/table.nix { inherit lib; };

  isCluster = cluster.nodes != { };
  names = lib.attrNames cluster.nodes;
  list = lib.concatStringsSep ", ";
  network = if cluster.network == null then null else parsing.parseNetwork cluster.network;
  self = cluster.nodes.${cfg.node} or null;
  controlPlane = lib.filter (name: builtins.elem "controlPlane" cluster.nodes.${name}.roles) names;

  # { key = [ names ]; } of what more than one host has.
  shared = keyOf: lib.filterAttrs (_: those: builtins.length those > 1) (lib.groupBy keyOf names);

  sameAddress = lib.mapAttrsToList (address: those: {
    assertion = false;
    message = "photoncloud.cluster.nodes: ${list those} have the same address ${address}. Give each host an address of its own in ${toString cluster.network}.";
  }) (shared (name: cluster.nodes.${name}.address));

  sameName = lib.mapAttrsToList (_: those: {
    assertion = false;
    message = "photoncloud.cluster.nodes: ${list those} are one host name, for case does not count in names. Rename all but one.";
  }) (shared lib.toLower);

  sameMac = lib.mapAttrsToList (mac: those: {
    assertion = false;
    message = "photoncloud.cluster.nodes: ${list those} have the same mac ${mac}. Each network interface has its own: read it from `ip link` on the host.";
  }) (removeAttrs (shared (name: toString cluster.nodes.${name}.mac)) [ "" ]);

  # Roles of this host that are turned on by hand, in the place of by the list that all hosts read.
  unlisted = lib.filter (role: roles.${role}.enable && !(builtins.elem role (self.roles or [ ]))) [
    "controlPlane"
    "compute"
    "storage"
  ];
  omitted = lib.filter (role: !roles.${role}.enable) (self.roles or [ ]);

  eachNode = name: node: [
    {
      assertion = builtins.match "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?" (lib.toLower name) != null;
      message = "photoncloud.cluster.nodes: '${name}' is no host name. Use letters, digits and dashes, at most 63 (RFC 1123).";
    }
    {
      assertion =
        network == null
        || (parsing.parse node.address != null && parsing.isHostOf network (parsing.parse node.address));
      message = "photoncloud.cluster.nodes.${name}.address = \"${node.address}\" is no address of a host in photoncloud.cluster.network = \"${toString cluster.network}\". Give an address of that network, or widen the network.";
    }
    {
      assertion = node.roles != [ ];
      message = "photoncloud.cluster.nodes.${name}.roles is empty. Write what the host is for: \"controlPlane\", \"compute\", or both.";
    }
  ];

  ofCluster = lib.optionals isCluster (
    [
      {
        assertion = cluster.name != null;
        message = "photoncloud.cluster.name is not set. Name the cluster; its hosts' certificates carry the name.";
      }
      {
        assertion = cluster.domain != null;
        message = "photoncloud.cluster.domain is not set. Write the domain of the hosts' names, for example \"example.internal\".";
      }
      {
        assertion = network != null;
        message = "photoncloud.cluster.network = ${builtins.toJSON cluster.network} is no IPv4 network. Write its first address and prefix length, for example \"192.0.2.0/24\".";
      }
      {
        assertion =
          cluster.gateway == null
          || network == null
          || (
            parsing.parse cluster.gateway != null && parsing.isHostOf network (parsing.parse cluster.gateway)
          );
        message = "photoncloud.cluster.gateway = \"${toString cluster.gateway}\" is not in photoncloud.cluster.network = \"${toString cluster.network}\". Hosts can only reach a router of their own network.";
      }
      {
        assertion = controlPlane != [ ];
        message = "photoncloud.cluster.nodes: no host has the role \"controlPlane\". Give it to one: roles = [ \"controlPlane\" \"compute\" ].";
      }
      {
        assertion = controlPlane == [ ] || lib.mod (builtins.length controlPlane) 2 == 1;
        message = "photoncloud.cluster.nodes: ${toString (builtins.length controlPlane)} hosts have the role \"controlPlane\" (${list controlPlane}). An even number survives no more failures than one less: make it odd.";
      }
      {
        assertion =
          builtins.length controlPlane <= 1
          || builtins.elem "etcd" (cfg.package.passthru.storeEngines or [ ]);
        message = "photoncloud.cluster.nodes: ${list controlPlane} have the role \"controlPlane\", but the store of this photoncloud.package is of one host: each would keep a cloud of its own. Give the role to one of them.";
      }
      {
        assertion = self != null;
        message = "photoncloud.cluster.nodes has no '${cfg.node}'; it has ${list names}. Add this host to it, or set networking.hostName to one of these.";
      }
      {
        assertion = self == null || config.networking.hostName == cfg.node;
        message = "This is photoncloud.cluster.nodes.${cfg.node}, but its networking.hostName is '${config.networking.hostName}'. A host's name is its key in nodes: make them the same.";
      }
      {
        assertion = self == null || unlisted == [ ];
        message = "photoncloud.roles: ${list unlisted} is enabled on ${cfg.node} but not in photoncloud.cluster.nodes.${cfg.node}.roles, which is where the other hosts look. Write it there.";
      }
      {
        assertion = self == null || omitted == [ ];
        message = "photoncloud.roles: ${list omitted} is in photoncloud.cluster.nodes.${cfg.node}.roles but disabled on ${cfg.node}, where the other hosts expect it. Remove it there.";
      }
    ]
    ++ sameAddress
    ++ sameName
    ++ sameMac
    ++ lib.concatLists (lib.mapAttrsToList eachNode cluster.nodes)
  );

  # A program that others can reach without TLS, or whose key everybody can read.
  listener =
    server:
    let
      its = lib.getAttrFromPath server.option cfg;
      inherit (its) settings;
      option = lib.concatStringsSep "." ([ "photoncloud" ] ++ server.option);
    in
    lib.optionals its.enable [
      {
        assertion =
          lib.hasPrefix "127." settings.listen
          || settings.listen == "::1"
          || (settings.tls.certificate != null && settings.tls.key != null);
        message = "${option}.settings.listen = \"${settings.listen}\" can be reached by others, so it must speak TLS. Set ${option}.settings.tls.certificate and .key, or listen on 127.0.0.1.";
      }
      {
        assertion = !(lib.hasPrefix builtins.storeDir (toString settings.tls.key));
        message = "${option}.settings.tls.key = \"${toString settings.tls.key}\" is in the Nix store, which everybody can read. Name a file that is on the host alone, as a string.";
      }
    ];

  # A program, server or agent, that shows the servers which it calls a certificate whose key everybody can read.
  caller =
    program:
    let
      its = lib.getAttrFromPath program.option cfg;
      option = lib.concatStringsSep "." ([ "photoncloud" ] ++ program.option);
    in
    lib.optionals (its.enable && program.calls != [ ]) [
      {
        assertion = !(lib.hasPrefix builtins.storeDir (toString its.settings.endpoints.key));
        message = "${option}.settings.endpoints.key = \"${toString its.settings.endpoints.key}\" is in the Nix store, which everybody can read. Name a file that is on the host alone, as a string.";
      }
    ];
in
{
  config.assertions =
    ofCluster
    ++ [
      {
        assertion =
          isCluster || !(roles.controlPlane.enable || roles.compute.enable || roles.storage.enable);
        message = "photoncloud.roles: controlPlane, compute and storage are roles of a cluster's hosts, but photoncloud.cluster.nodes is empty. Describe the cluster, or use photoncloud.roles.allInOne.enable for a host that needs no other.";
      }
      {
        assertion =
          !(
            roles.allInOne.enable && (roles.controlPlane.enable || roles.compute.enable || roles.storage.enable)
          );
        message = "photoncloud.roles.allInOne is a whole cloud on one host, on its loopback: it goes with no other role. Disable it, or the others.";
      }
      {
        assertion = !(roles.allInOne.enable && isCluster);
        message = "photoncloud.roles.allInOne is a whole cloud on one host, but photoncloud.cluster.nodes lists hosts. Remove the list, or use the roles in it.";
      }
      {
        assertion = !roles.storage.enable;
        message = "photoncloud.roles.storage: there is no storage service yet (LightningStor); virtual machines' disks are on their compute host. Remove \"storage\" from photoncloud.cluster.nodes.${cfg.node}.roles.";
      }
    ]
    ++ lib.concatMap listener (lib.attrValues table.servers)
    ++ lib.concatMap caller (lib.attrValues table.programs);
}
