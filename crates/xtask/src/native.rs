//! The control plane natively: its programs as processes of this machine, on the loopback of a network namespace of
//! the run's own.
//!
//! | module | holds |
//! | --- | --- |
//! | `stage` | the namespace that work is done in, and a program that ends with the run |
//! | `servers` | IAM, PrismNET and PlasmaVMC with their stores, and a tenant |
//! | `agent` | a host that exists on paper |
//! | `unit` | what a program's unit file says of it |

pub mod agent;
pub mod servers;
pub mod stage;
pub mod unit;
