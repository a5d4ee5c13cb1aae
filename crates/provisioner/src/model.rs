//! Machines as the rules see them.

mod hardware;
mod machine;
mod state;

pub use hardware::{
    Disk, Hardware, Interface, Key, MOST_INTERFACES, SmbiosUuid, plain, serial, smbios_uuid,
};
pub use machine::{Certificate, HostIdentity, MACHINES, Machine, MachineId, MachineIdentity};
pub use state::{Event, State};

use photon_resource::Error;

/// Checks a host name: an RFC 1123 label that is also an attribute name in Nix without quotes.
///
/// Errors: `InvalidArgument` for `name`.
pub fn validate_host_name(name: &str) -> Result<(), Error> {
    let bytes = name.as_bytes();
    let ok = (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-';
    if ok {
        return Ok(());
    }
    Err(Error::invalid(
        "name",
        name,
        "a host name that can be an attribute of the flake: 1 to 63 of a-z, 0-9 and '-', beginning with a letter and \
         not ending with '-'",
    ))
}

#[cfg(test)]
mod tests {
    use super::validate_host_name;

    #[test]
    fn a_host_name_is_a_label_and_an_attribute() {
        for name in ["node02", "a", "rack-1-node-2", &"n".repeat(63)] {
            validate_host_name(name).unwrap();
        }
        for name in [
            "",
            "2node",
            "-node",
            "node-",
            "Node02",
            "node.example",
            "node_2",
            "nöde",
            "node 2",
            "a\"; import ./x",
            &"n".repeat(64),
        ] {
            let error = validate_host_name(name).unwrap_err().to_string();
            assert!(error.contains("beginning with a letter"), "{name}: {error}");
        }
    }
}
