{
  description = "A rack that is a cloud";

  # Write here where your PhotonCloud comes from: a git repository, or a directory by path:.
  inputs.photoncloud.url = "git+https://git.example.org/photoncloud.git";

  outputs =
    { photoncloud, ... }:
    {
      nixosConfigurations = photoncloud.lib.hosts {
        shared = [
          ./cluster.nix
          ./hardware.nix
          ./operators.nix
        ];
        hosts = {
          node01 = ./node01.nix;
          node02 = ./node02.nix;
          node03 = ./node03.nix;
        };
      };
    };
}
