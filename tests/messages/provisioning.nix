# What evaluation must say of machines' way to become hosts. `first` and `second` are hosts of a cluster, with more.
{ first, second }:
let
  bootServer = more: {
    photoncloud.provisioner.enable = true;
    photoncloud.bootServer = {
      enable = true;
      interface = "enp1s0";
      range = {
        first = "192.0.2.100";
        last = "192.0.2.199";
      };
    }
    // more;
  };
  provisioner = more: {
    photoncloud.provisioner = {
      enable = true;
      settings.provisioner = {
        flake = "/etc/nixos";
        ssh_key = "/var/lib/photoncloud/installer/ssh-key";
        ssh_public_key = "ssh-ed25519 AAAA installer@example";
      }
      // more;
    };
  };
in
{
  right-boot-server = {
    of = first (bootServer { });
    message = "";
  };
  right-provisioner = {
    of = first (provisioner { });
    message = "";
  };
  boot-server-on-no-interface = {
    of = first (bootServer {
      interface = null;
    });
    message = "photoncloud.bootServer.interface is not set. Name this host's interface in the cluster's network, for example \"enp1s0\": DHCP is answered on no other.";
  };
  boot-server-with-no-range = {
    of = first (bootServer {
      range = { };
    });
    message = "photoncloud.bootServer.range is not set. Write its first and last address, or mode = \"proxy\" if another DHCP server gives addresses.";
  };
  proxy-with-a-range = {
    of = first (bootServer {
      mode = "proxy";
    });
    message = "photoncloud.bootServer.range is set, but with mode = \"proxy\" another DHCP server gives the addresses. Remove the range, or write mode = \"dhcp\".";
  };
  range-outside-the-network = {
    of = first (bootServer {
      range = {
        first = "198.51.100.1";
        last = "198.51.100.9";
      };
    });
    message = "photoncloud.bootServer.range: 198.51.100.1 to 198.51.100.9 is not within photoncloud.cluster.network = \"192.0.2.0/24\". Take addresses of hosts in that network.";
  };
  range-the-wrong-way-round = {
    of = first (bootServer {
      range = {
        first = "192.0.2.199";
        last = "192.0.2.100";
      };
    });
    message = "photoncloud.bootServer.range: first = \"192.0.2.199\" comes after last = \"192.0.2.100\". Exchange them.";
  };
  range-with-a-host-in-it = {
    of = first (bootServer {
      range = {
        first = "192.0.2.1";
        last = "192.0.2.100";
      };
    });
    message = "photoncloud.bootServer.range: 192.0.2.1 to 192.0.2.100 has the address of node01, node02. Leave out what photoncloud.cluster.nodes gives away.";
  };
  boot-server-without-provisioner = {
    of = second {
      photoncloud.bootServer = {
        enable = true;
        interface = "enp1s0";
        mode = "proxy";
      };
    };
    message = "photoncloud.bootServer is enabled, but there is no provisioner to boot from. Set photoncloud.provisioner.enable here, or photoncloud.bootServer.url to the boot listener of the host that has it.";
  };
  provisioner-beside-the-control-plane = {
    of = second { photoncloud.provisioner.enable = true; };
    message = "photoncloud.provisioner is enabled on node02, which is no host of a cluster's control plane. Enable it on one, where IAM is: it makes the hosts' identities there.";
  };
  installer-without-key = {
    of = first (provisioner {
      ssh_key = null;
    });
    message = "photoncloud.provisioner.settings.provisioner.flake is set, but not ssh_key and ssh_public_key beside it. Make a key on this host (ssh-keygen -t ed25519 -f /var/lib/photoncloud/installer/ssh-key) and write both down.";
  };
  installers-key-in-the-store = {
    of = first (provisioner {
      ssh_key = builtins.toFile "ssh-key" "secret";
    });
    message = "is in the Nix store, which everybody can read. Name a file that is on the host alone, as a string.";
  };
}
