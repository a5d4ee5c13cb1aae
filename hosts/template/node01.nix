# The control plane, and the host that installs the others.
{
  photoncloud.bootServer = {
    enable = true;
    # Of this host, in the cluster's network; the range is what machines have until they are hosts.
    interface = "enp1s0";
    range = {
      first = "192.0.2.100";
      last = "192.0.2.199";
    };
  };

  photoncloud.provisioner = {
    enable = true;
    # Until these are set, machines can be approved, but wait. Netbooted machines are signed in to with a key that is made
    # on this host once it runs: ssh-keygen -t ed25519 -N "" -f /var/lib/photoncloud/installer/ssh-key
    # settings.provisioner = {
    #   flake = "/etc/nixos"; # where this flake is on this host
    #   ssh_key = "/var/lib/photoncloud/installer/ssh-key";
    #   ssh_public_key = "ssh-ed25519 … installer";
    # };
  };
}
