# PhotonCloud on NixOS: everything. A host uses `photoncloud.roles` and `photoncloud.cluster`; what they turn on are
# services with options of their own.
{
  imports = [
    ./roles
    ./provisioning
  ];
}
