# Who runs the rack.
{
  # Your public SSH keys, as in ~/.ssh/id_ed25519.pub. Nothing else opens a host.
  photoncloud.hardening.access.operatorKeys = [ ];

  # `nixos-rebuild --flake` and `photon host` need them.
  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];
}
