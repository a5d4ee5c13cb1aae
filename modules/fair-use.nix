# What one tenant's ports, disks and networks may take of a host: the one place to set it. The agents keep it (decision
# 0033); each has its own share of these settings in its file.
{ config, lib, ... }:
let
  cfg = config.photoncloud.fairUse;
  limit =
    example: description:
    lib.mkOption {
      type = lib.types.nullOr lib.types.ints.unsigned;
      default = null;
      inherit example description;
    };
in
{
  options.photoncloud.fairUse = {
    port = {
      bytesPerSecond = limit 1250000000 "What a port may send, and what it may be sent, in bytes per second; what is more is dropped. 0: no limit; null: 125000000, which is 1 Gbit/s.";
      packetsPerSecond = limit 1000000 "The same in packets per second. 0: no limit; null: 200000.";
      queriesPerSecond = limit 5000 "How many packets a port may send to the resolver at its gateway, per second, and twice as many at once after a rest; what is more is dropped. 0: no limit; null: 1000.";
    };
    disk = {
      bytesPerSecond = limit 1073741824 "What one disk of a virtual machine may read and write together, in bytes per second; what is more waits. As the other limits of disks it holds for virtual machines that are started after the change. 0: no limit; null: 268435456, which is 256 MiB/s.";
      operationsPerSecond = limit 50000 "How many requests one disk may make per second. 0: no limit; null: 10000.";
      burstSeconds = limit 30 "For how many seconds a disk that has rested may be four times as fast, at most 60. 0: never; null: 10.";
    };
    vpc.connections = limit 262144 "About how many connections of one VPC the host tracks; what would begin one more is dropped, one in a hundred already from five eighths of it on. Keep it well below `photoncloud.dataplane.connections`, which all VPCs of the host share. 0: no limit; null: 65536.";
  };

  config.photoncloud = {
    prismnet.agent.settings.prismnet-agent = {
      port_bytes_per_second = lib.mkDefault cfg.port.bytesPerSecond;
      port_packets_per_second = lib.mkDefault cfg.port.packetsPerSecond;
      port_queries_per_second = lib.mkDefault cfg.port.queriesPerSecond;
      vpc_connections = lib.mkDefault cfg.vpc.connections;
    };
    plasmavmc.agent.settings.plasmavmc-agent = {
      disk_bytes_per_second = lib.mkDefault cfg.disk.bytesPerSecond;
      disk_operations_per_second = lib.mkDefault cfg.disk.operationsPerSecond;
      disk_burst_seconds = lib.mkDefault cfg.disk.burstSeconds;
    };
  };
}
