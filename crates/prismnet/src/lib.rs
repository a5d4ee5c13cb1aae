//! VPCs, subnets, ports, security groups, the data plane.
