//! What names there are, and for whom.

mod node;

pub use node::{Changed, Desired, DesiredName, DesiredView, Interest, Inventory, Nodes, Table};
