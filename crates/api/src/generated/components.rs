// Made from components.toml by tests/generated.rs.

/// IAM.
pub static IAM: Component = Component {
    name: "iam",
    title: "IAM",
    serves: "sign-in service",
    port: 50080,
    more_ports: &[],
    endpoint_variable: "PHOTON_IAM_ENDPOINT",
    endpoint_flag: "iam-endpoint",
    default_endpoint: "http://127.0.0.1:50080",
    programs: &[
        Program {
            name: "iam-server",
            kind: ProgramKind::Server,
            role: Some("controlPlane"),
            identity: None,
            calls: &["prismnet", "plasmavmc", "flashdns"],
            metrics_port: 51080,
        },
    ],
};

/// PrismNET.
pub static PRISMNET: Component = Component {
    name: "prismnet",
    title: "PrismNET",
    serves: "network service",
    port: 50081,
    more_ports: &[],
    endpoint_variable: "PHOTON_PRISMNET_ENDPOINT",
    endpoint_flag: "prismnet-endpoint",
    default_endpoint: "http://127.0.0.1:50081",
    programs: &[
        Program {
            name: "prismnet-server",
            kind: ProgramKind::Server,
            role: Some("controlPlane"),
            identity: Some("ServiceAgent"),
            calls: &["iam"],
            metrics_port: 51081,
        },
        Program {
            name: "prismnet-agent",
            kind: ProgramKind::Agent,
            role: Some("compute"),
            identity: Some("NodeAgent"),
            calls: &["iam", "prismnet"],
            metrics_port: 51181,
        },
    ],
};

/// PlasmaVMC.
pub static PLASMAVMC: Component = Component {
    name: "plasmavmc",
    title: "PlasmaVMC",
    serves: "VM service",
    port: 50082,
    more_ports: &[],
    endpoint_variable: "PHOTON_PLASMAVMC_ENDPOINT",
    endpoint_flag: "plasmavmc-endpoint",
    default_endpoint: "http://127.0.0.1:50082",
    programs: &[
        Program {
            name: "plasmavmc-server",
            kind: ProgramKind::Server,
            role: Some("controlPlane"),
            identity: Some("ServiceAgent"),
            calls: &["iam", "prismnet"],
            metrics_port: 51082,
        },
        Program {
            name: "plasmavmc-agent",
            kind: ProgramKind::Agent,
            role: Some("compute"),
            identity: Some("NodeAgent"),
            calls: &["iam", "plasmavmc"],
            metrics_port: 51182,
        },
    ],
};

/// FlashDNS.
pub static FLASHDNS: Component = Component {
    name: "flashdns",
    title: "FlashDNS",
    serves: "name service",
    port: 50083,
    more_ports: &[],
    endpoint_variable: "PHOTON_FLASHDNS_ENDPOINT",
    endpoint_flag: "flashdns-endpoint",
    default_endpoint: "http://127.0.0.1:50083",
    programs: &[
        Program {
            name: "flashdns-server",
            kind: ProgramKind::Server,
            role: Some("controlPlane"),
            identity: Some("NameService"),
            calls: &["iam", "prismnet", "plasmavmc"],
            metrics_port: 51083,
        },
        Program {
            name: "flashdns-agent",
            kind: ProgramKind::Agent,
            role: Some("compute"),
            identity: Some("NodeAgent"),
            calls: &["iam", "flashdns"],
            metrics_port: 51183,
        },
    ],
};

/// the provisioner.
pub static PROVISIONER: Component = Component {
    name: "provisioner",
    title: "the provisioner",
    serves: "machine service",
    port: 50089,
    more_ports: &[8089],
    endpoint_variable: "PHOTON_PROVISIONER_ENDPOINT",
    endpoint_flag: "provisioner-endpoint",
    default_endpoint: "http://127.0.0.1:50089",
    programs: &[
        Program {
            name: "photon-provisioner",
            kind: ProgramKind::Server,
            role: None,
            identity: Some("Provisioner"),
            calls: &["iam"],
            metrics_port: 51089,
        },
    ],
};

/// All components, in the order in which a cloud starts them.
pub static COMPONENTS: [&Component; 5] = [&IAM, &PRISMNET, &PLASMAVMC, &FLASHDNS, &PROVISIONER];
