# What a service that reads servers' stores, and then ends, may do.
{
  Type = "oneshot";
  UMask = "0077";
  # Core dumps would hold what the stores hold.
  LimitCORE = 0;
  Nice = 10;
  IOSchedulingClass = "idle";
  # The stores belong to the servers' users, and what SQLite makes beside them must too.
  CapabilityBoundingSet = [
    "CAP_CHOWN"
    "CAP_DAC_OVERRIDE"
    "CAP_FOWNER"
  ];
  NoNewPrivileges = true;
  ProtectSystem = "strict";
  ProtectHome = true;
  PrivateTmp = true;
  PrivateDevices = true;
  PrivateIPC = true;
  PrivateNetwork = true;
  ProtectHostname = true;
  ProtectClock = true;
  ProtectKernelTunables = true;
  ProtectKernelModules = true;
  ProtectKernelLogs = true;
  ProtectControlGroups = true;
  ProtectProc = "invisible";
  ProcSubset = "pid";
  RestrictNamespaces = true;
  RestrictRealtime = true;
  RestrictSUIDSGID = true;
  LockPersonality = true;
  MemoryDenyWriteExecute = true;
  RestrictAddressFamilies = [ "AF_UNIX" ];
  SystemCallArchitectures = "native";
  SystemCallFilter = [
    "@system-service"
    "~@privileged @resources"
    "@chown"
  ];
  SystemCallErrorNumber = "EPERM";
}
