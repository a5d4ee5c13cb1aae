//! The only crate that touches the host: D-Bus, units, networks, nftables, processes.
