# How machines become hosts: a boot server that they netboot from, the provisioner that installs them, and what a host
# does to enrol.
{
  imports = [
    ../cluster
    ./boot-server.nix
    ./enrolment.nix
    ../components/provisioner.nix
  ];
}
