# The cluster, written down once for all of its hosts. Give it your own name, domain, network and addresses.
{
  photoncloud.cluster = {
    name = "example";
    domain = "example.internal";
    network = "192.0.2.0/24";
    nodes = {
      node01 = {
        address = "192.0.2.1";
        roles = [
          "controlPlane"
          "compute"
        ];
      };
      node02.address = "192.0.2.2";
      node03.address = "192.0.2.3";
    };
  };
}
