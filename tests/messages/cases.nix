# Configurations that cannot work, and what evaluation must say of each. `hosts` is the flake's lib.hosts.
hosts:
let
  key = {
    photoncloud.hardening.access.operatorKeys = [ "ssh-ed25519 AAAA operator@example" ];
  };
  disk = { lib, ... }: {
    photoncloud.disks.system = lib.mkForce "/dev/disk/by-id/nvme-eui.0000000000000001";
  };
  installerKey =
    { lib, ... }:
    {
      photoncloud.provisioner.settings.provisioner.ssh_public_key =
        lib.mkForce "ssh-ed25519 AAAA installer@example";
    };
  machine = {
    nixpkgs.hostPlatform = "x86_64-linux";
    boot.loader.systemd-boot.enable = true;
    system.stateVersion = "26.05";
  };

  # A cluster of two and `nodes`, which may also be others in the place of those two.
  cluster = clusterOf "192.0.2.0/24";
  clusterOf = network: nodes: {
    photoncloud.cluster = {
      name = "example";
      domain = "example.internal";
      inherit network;
      nodes = {
        node01 = {
          address = "192.0.2.1";
          roles = [
            "controlPlane"
            "compute"
          ];
        };
        node02.address = "192.0.2.2";
      }
      // nodes;
    };
  };
  allInOne = {
    photoncloud.roles.allInOne.enable = true;
    networking.useDHCP = false;
  };
  controlPlane = number: {
    address = "192.0.2.${toString number}";
    roles = [ "controlPlane" ];
  };

  host = name: modules: (hosts { hosts.${name}.imports = [ machine ] ++ modules; }).${name};
  # A host of the cluster, and one that is a cloud by itself, each with something wrong.
  node =
    wrong:
    host "node02" [
      key
      disk
      wrong
    ];
  inCluster =
    wrong:
    node {
      imports = [
        (cluster { })
        wrong
      ];
    };
  # The first of them, which is the control plane.
  first =
    wrong:
    host "node01" [
      key
      disk
      (cluster { })
      wrong
    ];
  single =
    wrong:
    host "cloud" [
      key
      disk
      allInOne
      wrong
    ];
  # The first host of what `nix flake init` gives, with `more`.
  template =
    more:
    ((import ../../hosts/template/flake.nix).outputs {
      photoncloud.lib.hosts = rack: hosts (rack // { shared = rack.shared ++ more; });
    }).nixosConfigurations.node01;
in
builtins.mapAttrs (_: case: case // { toplevel = case.of.config.system.build.toplevel.drvPath; }) (
  {
    # What is right gives no message: else the rest would prove nothing.
    right-cluster = {
      of = inCluster { };
      message = "";
    };
    right-single = {
      of = single { };
      message = "";
    };
    right-forwarding = {
      of = single {
        photoncloud.flashdns.forwarding = {
          enable = true;
          servers = [ "9.9.9.9" ];
        };
      };
      message = "";
    };
    right-template = {
      of = template [
        key
        disk
        installerKey
      ];
      message = "";
    };

    # --- the template, until it is filled in
    template-wants-a-key = {
      of = template [
        disk
        installerKey
      ];
      message = "photoncloud.hardening.access.operatorKeys is empty, and no password opens this host: nobody could get in. Write the operators' public SSH keys.";
    };
    template-wants-a-disk = {
      of = template [
        key
        installerKey
      ];
      message = "photoncloud.disks.system is not set, and fileSystems has no \"/\": node01 has no disk to be installed to. Write the disk's name under /dev/disk/by-id.";
    };
    template-wants-an-installers-key = {
      of = template [
        key
        disk
        { photoncloud.provisioner.settings.provisioner.flake = "/etc/nixos"; }
      ];
      message = "photoncloud.provisioner.settings.provisioner.flake is set, but not ssh_key and ssh_public_key beside it. Make a key on this host (ssh-keygen -t ed25519 -f /var/lib/photoncloud/installer/ssh-key) and write both down.";
    };

    # --- options
    typo-in-option = {
      of = single { photoncloud.iam.enabel = true; };
      message = "The option `photoncloud.iam.enabel' does not exist";
    };
    typo-in-role = {
      of = single { photoncloud.roles.alInOne.enable = true; };
      message = "The option `photoncloud.roles.alInOne' does not exist";
    };
    unknown-role = {
      of = node (cluster {
        node02 = {
          address = "192.0.2.2";
          roles = [ "computer" ];
        };
      });
      message = "`photoncloud.cluster.nodes.node02.roles.\"[definition 1-entry 1]\"' is not of type `one of \"controlPlane\", \"compute\", \"storage\"'";
    };
    wrong-type = {
      of = single { photoncloud.iam.settings.port = "fifty"; };
      message = "`photoncloud.iam.settings.port' is not of type `16 bit unsigned integer; between 0 and 65535 (both inclusive)'";
    };
    token-lives-too-long = {
      of = single { photoncloud.iam.settings.iam.token_ttl_seconds = 86400; };
      message = "`photoncloud.iam.settings.iam.token_ttl_seconds' is not of type `null or integer between 1 and 3600 (both inclusive)'";
    };
    mac-in-capitals = {
      of = node (cluster {
        node02 = {
          address = "192.0.2.2";
          mac = "52:54:00:AB:CD:EF";
        };
      });
      message = "`photoncloud.cluster.nodes.node02.mac' is not of type";
    };

    # --- roles
    all-in-one-and-compute = {
      of = single { photoncloud.roles.compute.enable = true; };
      message = "photoncloud.roles.allInOne is a whole cloud on one host, on its loopback: it goes with no other role. Disable it, or the others.";
    };
    all-in-one-in-a-cluster = {
      of = inCluster { photoncloud.roles.allInOne.enable = true; };
      message = "photoncloud.roles.allInOne is a whole cloud on one host, but photoncloud.cluster.nodes lists hosts. Remove the list, or use the roles in it.";
    };
    control-plane-without-cluster = {
      of = node { photoncloud.roles.controlPlane.enable = true; };
      message = "photoncloud.roles: controlPlane, compute and storage are roles of a cluster's hosts, but photoncloud.cluster.nodes is empty. Describe the cluster, or use photoncloud.roles.allInOne.enable for a host that needs no other.";
    };
    storage = {
      of = node (cluster {
        node02 = {
          address = "192.0.2.2";
          roles = [ "storage" ];
        };
      });
      message = "photoncloud.roles.storage: there is no storage service yet (LightningStor); virtual machines' disks are on their compute host. Remove \"storage\" from photoncloud.cluster.nodes.node02.roles.";
    };
    role-not-in-the-list = {
      of = inCluster { photoncloud.roles.controlPlane.enable = true; };
      message = "photoncloud.roles: controlPlane is enabled on node02 but not in photoncloud.cluster.nodes.node02.roles, which is where the other hosts look. Write it there.";
    };
    role-taken-away = {
      of = inCluster { photoncloud.roles.compute.enable = false; };
      message = "photoncloud.roles: compute is in photoncloud.cluster.nodes.node02.roles but disabled on node02, where the other hosts expect it. Remove it there.";
    };
    no-role = {
      of = node (cluster {
        node02 = {
          address = "192.0.2.2";
          roles = [ ];
        };
      });
      message = "photoncloud.cluster.nodes.node02.roles is empty. Write what the host is for: \"controlPlane\", \"compute\", or both.";
    };

    # --- the cluster
    two-hosts-of-one-name = {
      # Of the same attribute set Nix itself says so, before anything is evaluated.
      of = node (
        import (
          builtins.toFile "cluster.nix" ''
            {
              photoncloud.cluster.nodes.node01.address = "192.0.2.1";
              photoncloud.cluster.nodes.node01.address = "192.0.2.2";
            }
          ''
        )
      );
      message = "attribute 'photoncloud.cluster.nodes.node01.address' already defined";
    };
    two-files-with-one-name = {
      of = inCluster { photoncloud.cluster.nodes.node01.address = "192.0.2.9"; };
      message = "The option `photoncloud.cluster.nodes.node01.address' has conflicting definition values";
    };
    names-that-differ-by-case = {
      of = node (cluster {
        Node01.address = "192.0.2.3";
      });
      message = "photoncloud.cluster.nodes: Node01, node01 are one host name, for case does not count in names. Rename all but one.";
    };
    host-with-the-name-of-another = {
      of = inCluster { networking.hostName = "node01"; };
      message = "This is photoncloud.cluster.nodes.node02, but its networking.hostName is 'node01'. A host's name is its key in nodes: make them the same.";
    };
    no-host-name = {
      of = node (cluster {
        "node_03".address = "192.0.2.3";
      });
      message = "photoncloud.cluster.nodes: 'node_03' is no host name. Use letters, digits and dashes, at most 63 (RFC 1123).";
    };
    host-not-listed = {
      of = host "node07" [
        key
        disk
        (cluster { })
      ];
      message = "photoncloud.cluster.nodes has no 'node07'; it has node01, node02. Add this host to it, or set networking.hostName to one of these.";
    };
    address-outside-the-network = {
      of = node (cluster {
        node03.address = "198.51.100.3";
      });
      message = "photoncloud.cluster.nodes.node03.address = \"198.51.100.3\" is no address of a host in photoncloud.cluster.network = \"192.0.2.0/24\". Give an address of that network, or widen the network.";
    };
    address-of-the-network-itself = {
      of = node (cluster {
        node03.address = "192.0.2.0";
      });
      message = "photoncloud.cluster.nodes.node03.address = \"192.0.2.0\" is no address of a host in";
    };
    broadcast-address = {
      of = node (cluster {
        node03.address = "192.0.2.255";
      });
      message = "photoncloud.cluster.nodes.node03.address = \"192.0.2.255\" is no address of a host in";
    };
    no-address = {
      of = node (cluster {
        node03.address = "192.0.2.256";
      });
      message = "photoncloud.cluster.nodes.node03.address = \"192.0.2.256\" is no address of a host in";
    };
    one-address-twice = {
      of = node (cluster {
        node03.address = "192.0.2.2";
      });
      message = "photoncloud.cluster.nodes: node02, node03 have the same address 192.0.2.2. Give each host an address of its own in 192.0.2.0/24.";
    };
    one-mac-twice = {
      of = node (cluster {
        node02 = {
          address = "192.0.2.2";
          mac = "52:54:00:12:34:56";
        };
        node03 = {
          address = "192.0.2.3";
          mac = "52:54:00:12:34:56";
        };
      });
      message = "photoncloud.cluster.nodes: node02, node03 have the same mac 52:54:00:12:34:56. Each network interface has its own: read it from `ip link` on the host.";
    };
    network-with-host-bits = {
      of = node (clusterOf "192.0.2.1/24" { });
      message = "photoncloud.cluster.network = \"192.0.2.1/24\" is no IPv4 network. Write its first address and prefix length, for example \"192.0.2.0/24\".";
    };
    no-control-plane = {
      of = node (cluster {
        node01.address = "192.0.2.1";
      });
      message = "photoncloud.cluster.nodes: no host has the role \"controlPlane\". Give it to one: roles = [ \"controlPlane\" \"compute\" ].";
    };
    even-control-plane = {
      of = node (cluster {
        node03 = controlPlane 3;
      });
      message = "photoncloud.cluster.nodes: 2 hosts have the role \"controlPlane\" (node01, node03). An even number survives no more failures than one less: make it odd.";
    };
    three-control-planes-on-one-hosts-store = {
      of = node (cluster {
        node03 = controlPlane 3;
        node04 = controlPlane 4;
      });
      message = "photoncloud.cluster.nodes: node01, node03, node04 have the role \"controlPlane\", but the store of this photoncloud.package is of one host: each would keep a cloud of its own. Give the role to one of them.";
    };
    three-control-planes-on-a-store-of-many-hosts = {
      of = node {
        imports = [
          (cluster {
            node03 = controlPlane 3;
            node04 = controlPlane 4;
          })
          (
            { pkgs, ... }:
            {
              photoncloud.package = pkgs.hello // {
                passthru.storeEngines = [ "etcd" ];
              };
            }
          )
        ];
      };
      message = "";
    };

    # --- disks, access, listeners
    no-disk = {
      of = host "node02" [
        key
        (cluster { })
      ];
      message = "photoncloud.disks.system is not set, and fileSystems has no \"/\": node02 has no disk to be installed to. Write the disk's name under /dev/disk/by-id.";
    };
    one-disk-for-two = {
      of = inCluster { photoncloud.disks.state = "/dev/disk/by-id/nvme-eui.0000000000000001"; };
      message = "photoncloud.disks.state and photoncloud.disks.system are the same disk";
    };
    state-without-system = {
      of = host "node02" [
        key
        (cluster { })
        { photoncloud.disks.state = "/dev/disk/by-id/nvme-eui.0000000000000002"; }
      ];
      message = "photoncloud.disks.state is set, but photoncloud.disks.system is not. Write the disk of the system too.";
    };
    nobody-gets-in = {
      of = host "node02" [
        disk
        (cluster { })
      ];
      message = "photoncloud.hardening.access.operatorKeys is empty, and no password opens this host: nobody could get in. Write the operators' public SSH keys.";
    };
    backup-of-nothing = {
      of = inCluster { photoncloud.flaredb.backup.enable = true; };
      message = "photoncloud.flaredb.backup is enabled on a host that keeps no store. Remove it, or name the servers in photoncloud.flaredb.backup.servers.";
    };
    proof-of-nothing = {
      of = inCluster { photoncloud.chainfire.verify.enable = true; };
      message = "photoncloud.chainfire.verify is enabled on a host that keeps no store. Remove it, or name the servers in photoncloud.chainfire.verify.servers.";
    };
    docker-beside-tenants = {
      of = inCluster { virtualisation.docker.enable = true; };
      message = "photoncloud.dataplane: Docker turns on br_netfilter and a filter of its own, in which tenants' packets are lost. Remove virtualisation.docker.enable; run containers in a virtual machine.";
    };
    without-networkd = {
      of = inCluster ({ lib, ... }: { systemd.network.enable = lib.mkForce false; });
      message = "photoncloud.dataplane: systemd-networkd makes tenants' networks. Write systemd.network.enable = true.";
    };
  }
  // import ./listeners.nix { inherit first; }
  // import ./provisioning.nix {
    inherit first;
    second = inCluster;
  }
)
