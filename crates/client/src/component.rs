//! The components that have a server.

/// A component with a server of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// As its package, its crate and its endpoint are called: `prismnet`.
    pub name: &'static str,
    /// As people read it: `PrismNET`.
    pub title: &'static str,
    /// Where its server listens unless it is told otherwise.
    pub port: u16,
    /// Whether every cloud has it. A cloud of one host has no provisioner.
    pub everywhere: bool,
}

impl Component {
    /// The environment variable that has its URL: `PRISMNET_ENDPOINT`.
    pub fn variable(&self) -> String {
        format!("{}_ENDPOINT", self.name.to_uppercase())
    }

    /// Where it is on the machine itself, without TLS.
    pub fn local_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// All of them, in the order in which a cloud starts.
pub const COMPONENTS: [Component; 4] = [
    Component {
        name: "iam",
        title: "IAM",
        port: 50080,
        everywhere: true,
    },
    Component {
        name: "prismnet",
        title: "PrismNET",
        port: 50081,
        everywhere: true,
    },
    Component {
        name: "plasmavmc",
        title: "PlasmaVMC",
        port: 50082,
        everywhere: true,
    },
    Component {
        name: "provisioner",
        title: "the provisioner",
        port: 50089,
        everywhere: false,
    },
];

/// The component of this name.
pub fn component(name: &str) -> Option<&'static Component> {
    COMPONENTS.iter().find(|component| component.name == name)
}
