# Tenants' virtual machines: what cluster.nix and hardware.nix say is all there is to it.
{ }
