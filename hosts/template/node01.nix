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
    settings.provisioner = {
      # Where this flake is on this host: `nixos-rebuild` reads it there too.
      flake = "/etc/nixos";
      # The key that netbooted machines are signed in to with. Make it on this host, and put its public half in the place
      # of null: ssh-keygen -t ed25519 -N "" -f /var/lib/photoncloud/installer/ssh-key
      ssh_key = "/var/lib/photoncloud/installer/ssh-key";
      ssh_public_key = null;
    };
  };
}
