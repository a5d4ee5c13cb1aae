//! The rules: what each call, report and unit means for the machines, and what follows from it.

mod change;
mod discovery;
mod enrolment;
mod identities;
mod install;
mod machines;
mod watch;

pub use discovery::{Discovery, Reported};
pub use enrolment::{Enrolment, Granted, Joining, Peer};
pub use identities::{Identities, IdentityReconciler};
pub use install::{InstallReconciler, Installations, Invitation, UNIT_PREFIX, unit_name};
pub use machines::{Approval, Confirmation, Machines, Wish};
pub use watch::{MachineNews, MachineWatch};
