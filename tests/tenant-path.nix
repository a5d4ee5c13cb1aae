# The whole tenant path on the host that is a cloud by itself: sign-in, networks, guests, who reaches whom, and that
# nothing is left.
{ support, ... }:
{
  name = "tenant-path";

  nodes.cloud = {
    imports = [
      support.machine
      ../hosts/all-in-one.nix
      ../hosts/operators.nix
    ];
    virtualisation.vlans = [ ];
  };

  testScript = ''
    ${support.prelude}
    start_all()
    wait_for(cloud, SERVERS + AGENTS)

    with subtest("one tenant after the other, and nothing left"):
        seen = json.loads(cloud.succeed("photon-e2e --output json tenant-path", timeout=1200))
        print(seen)

    with subtest("the programs are as they were"):
        cloud.fail("systemctl --failed --no-legend --plain | grep .")
        assert "photon-vm-" not in cloud.succeed("systemctl list-units --no-legend --plain 'photon-vm-*'")

    with subtest("a power cut loses nothing"):
        cloud.succeed("photon-e2e --keep hold --seconds 20 --journal /var/lib/journal.jsonl", timeout=900)
        cloud.crash()
        cloud.start()
        wait_for(cloud, SERVERS)
        cloud.succeed("photon-e2e verify --journal /var/lib/journal.jsonl")
        cloud.succeed("photon-e2e clean")
  '';
}
