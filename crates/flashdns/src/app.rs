//! What names there are, and for whom. Every change here is one transaction.

mod node;
mod record_set;
mod resolve;
mod zone;

pub use node::{Desired, DesiredName, DesiredView, DesiredZone, Interest, Inventory, Nodes, Table};
pub use record_set::RecordSets;
pub use resolve::{Names, Resolved, ResolvedRecord};
pub use zone::Zones;
