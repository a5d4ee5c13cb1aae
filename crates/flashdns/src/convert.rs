//! Between the wire and the domain; the wire's types go no further.

mod node;
mod record_set;
mod source;
mod zone;

pub use node::desired;
pub use record_set::{asked_type, new_record_set, record_set, record_set_changes, resolved};
pub use source::{port, subnet, vm};
pub use zone::{new_zone, zone, zone_changes};
