# A whole cloud on one host. Its API is on the loopback address: use it there, or through SSH.
{
  photoncloud.roles.allInOne.enable = true;

  networking.useDHCP = false;
  systemd.network.networks."10-uplink" = {
    matchConfig.Name = "en* eth*";
    networkConfig.DHCP = "yes";
  };
}
