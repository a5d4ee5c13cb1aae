//! The section `[prismnet-agent]`: what a port and a VPC may take of this host (decision 0033).

use photon_program::{ComponentSettings, Invalid};
use serde::Deserialize;

use crate::plan::{FASTEST, Limits, MOST_CONNECTIONS, MOST_PACKETS};
use crate::program::COMPONENT;

/// 0 is no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// What a port may send, and what it may be sent, in bytes per second.
    port_bytes_per_second: u64,
    /// The same, in packets per second.
    port_packets_per_second: u64,
    /// About how many connections of a VPC this host tracks.
    vpc_connections: u32,
}

impl Default for Section {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            port_bytes_per_second: limits.port_bytes_per_second,
            port_packets_per_second: limits.port_packets_per_second,
            vpc_connections: limits.vpc_connections,
        }
    }
}

impl Section {
    /// What the plan is made with.
    pub fn limits(&self) -> Limits {
        Limits {
            port_bytes_per_second: self.port_bytes_per_second,
            port_packets_per_second: self.port_packets_per_second,
            vpc_connections: self.vpc_connections,
        }
    }
}

impl ComponentSettings for Section {
    fn validate(&self) -> Result<(), Invalid> {
        for (key, value, most) in [
            ("port_bytes_per_second", self.port_bytes_per_second, FASTEST),
            (
                "port_packets_per_second",
                self.port_packets_per_second,
                MOST_PACKETS,
            ),
            (
                "vpc_connections",
                self.vpc_connections.into(),
                MOST_CONNECTIONS.into(),
            ),
        ] {
            if value > most {
                let key = format!("{}.{key}", COMPONENT.name);
                return Err(Invalid::new(key, value, format!("0 to {most}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_can_not_reckon_with_is_refused_by_name() {
        let most = Section {
            port_bytes_per_second: FASTEST,
            port_packets_per_second: MOST_PACKETS,
            vpc_connections: MOST_CONNECTIONS,
        };
        assert_eq!(most.validate(), Ok(()));
        let more = Section {
            port_bytes_per_second: FASTEST + 1,
            ..most
        };
        let error = more.validate().unwrap_err();
        assert_eq!(error.key, "prismnet-agent.port_bytes_per_second");
    }
}
