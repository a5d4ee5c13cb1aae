//! Between the wire's types and the domain's: nothing else of the server's rules sees generated types' enums
//! and optional messages.

use photon_resource::Error;

mod image;
mod node;
#[cfg(test)]
mod tests;
mod vm;

pub use image::{image_format, image_part, image_to_wire};
pub use node::{node_from_wire, node_to_wire};
pub use vm::{
    desired_to_wire, left_to_wire, phase_filter, power_state, report_from_wire, restart_policy,
    spec_from_wire, vm_to_wire, vm_with_user_data,
};

/// An enum's number that this program does not know.
fn unknown(field: &str, value: i32, expected: &str) -> Error {
    Error::invalid(field, value, format!("one of {expected}"))
}
