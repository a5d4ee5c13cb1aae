//! Between the wire and the domain; the wire's types go no further.

mod node;
mod source;

pub use node::desired;
pub use source::{port, subnet, vm};
