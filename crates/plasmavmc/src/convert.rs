//! Between the wire's types and the domain's: nothing else of the server's rules sees generated types' enums
//! and optional messages.

use photon_resource::Error;

mod console;
mod image;
mod metadata;
mod node;
mod ssh_key;
#[cfg(test)]
mod tests;
mod vm;

pub use console::{from_host, to_host};
pub use image::{fetched_image, image_changes, image_part, image_to_wire, new_image};
pub use node::{node_from_wire, node_to_wire};
pub use ssh_key::{new_ssh_key, ssh_key_changes, ssh_key_to_wire};
#[cfg(test)]
use vm::spec_from_wire;
pub use vm::{
    desired_to_wire, left_to_wire, new_interface, new_vm, port_as_given, port_id, report_from_wire,
    stop, vm_changes, vm_filter, vm_to_wire, vm_with_user_data,
};

/// An enum's number that this program does not know.
fn unknown(field: &str, value: i32, expected: &str) -> Error {
    Error::invalid(field, value, format!("one of {expected}"))
}
