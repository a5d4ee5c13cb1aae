# Who runs the rack. Put your own public keys in the place of the example's, whose private key was thrown away.
{
  photoncloud.hardening.access.operatorKeys = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN3PpnEUxSNBi5KB5agfeoPEwrEtGkgQNeP1B0t0AFBb operator@example"
  ];

  # `nixos-rebuild --flake` and `photon host` need them.
  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];
}
