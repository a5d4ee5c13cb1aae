# The control plane, and the host that installs the others.
{
  photoncloud.bootServer = {
    enable = true;
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
      # Made on this host: ssh-keygen -t ed25519 -N "" -f /var/lib/photoncloud/installer/ssh-key. Put its public half in
      # the place of the example's, whose private half was thrown away.
      ssh_key = "/var/lib/photoncloud/installer/ssh-key";
      ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJlL//f6R3PnR3DrXDgNxyX+Oy4IUcHOHqItOJviSGlv installer@example";
    };
  };
}
