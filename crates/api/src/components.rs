//! The components of the cloud and their programs, from `components.toml`: what lists them is a loop over
//! [`COMPONENTS`].

include!("generated/components.rs");

/// A part of the cloud with an API of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Component {
    /// The key of its URL in settings, and its server's name: `iam`.
    pub name: &'static str,
    /// What it is called: `PrismNET`.
    pub title: &'static str,
    /// What it is to those who use the cloud: `network service`.
    pub serves: &'static str,
    /// Its server's gRPC port.
    pub port: u16,
    /// Further ports on which its server listens.
    pub more_ports: &'static [u16],
    /// The environment variable with its URL: `PHOTON_IAM_ENDPOINT`.
    pub endpoint_variable: &'static str,
    /// The flag with its URL, without the dashes: `iam-endpoint`.
    pub endpoint_flag: &'static str,
    /// Its URL where nobody says another: on this host's loopback.
    pub default_endpoint: &'static str,
    /// Its programs; the server is first.
    pub programs: &'static [Program],
}

/// A program that runs on hosts for as long as they do.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name, and its unit's without `.service`: `iam-server`.
    pub name: &'static str,
    /// What it is.
    pub kind: ProgramKind,
    /// The role of the hosts that run it; `None`: a host turns it on by itself.
    pub role: Option<&'static str>,
    /// The built-in role of its identity in IAM; `None`: it has no identity.
    pub identity: Option<&'static str>,
    /// Names of the components whose servers it calls.
    pub calls: &'static [&'static str],
    /// Where its `/metrics` is on loopback by default.
    pub metrics_port: u16,
}

/// What a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// Answers its component's API.
    Server,
    /// Does on each host what the servers say.
    Agent,
}

impl Component {
    /// Its URL in the environment, where that has one. Before they all began with `PHOTON_`, the variable was
    /// `IAM_ENDPOINT`: that counts too, until the release after the next.
    pub fn url_in_environment(&self) -> Option<String> {
        let former = self.endpoint_variable.trim_start_matches("PHOTON_");
        [self.endpoint_variable, former]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()))
    }
}

impl Program {
    /// Its systemd unit: `iam-server.service`.
    pub fn unit(&self) -> String {
        format!("{}.service", self.name)
    }
}

/// The component of this name.
pub fn component(name: &str) -> Option<&'static Component> {
    COMPONENTS
        .into_iter()
        .find(|component| component.name == name)
}

/// All programs of all components, in the order of the table.
pub fn programs() -> impl Iterator<Item = &'static Program> {
    COMPONENTS
        .into_iter()
        .flat_map(|component| component.programs)
}

/// Every port on which a program listens by default, in order. A host must not give them to outgoing connections
/// ([`RESERVED_PORTS`]): most lie where Linux takes those from, 32768 to 60999.
pub fn ports() -> Vec<u16> {
    let mut ports: Vec<u16> = COMPONENTS
        .into_iter()
        .flat_map(|component| component.more_ports.iter().copied().chain([component.port]))
        .chain(programs().map(|program| program.metrics_port))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The kernel's setting of ports that no outgoing connection gets by itself
/// (<https://docs.kernel.org/networking/ip-sysctl.html>): a list with commas.
pub const RESERVED_PORTS: &str = "net.ipv4.ip_local_reserved_ports";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_are_all_that_programs_listen_on() {
        let ports = ports();
        for component in COMPONENTS {
            assert!(ports.contains(&component.port), "{}", component.name);
            for port in component.more_ports {
                assert!(ports.contains(port), "{}: {port}", component.name);
            }
        }
        for program in programs() {
            assert!(ports.contains(&program.metrics_port), "{}", program.name);
        }
        assert!(ports.is_sorted_by(|one, next| one < next), "{ports:?}");
    }
}
