//! The gRPC services: each handler finds out who calls, hands the request to the rules, and wraps the answer.

mod enrolment;
mod machine;

pub use enrolment::EnrolmentServer;
pub use machine::MachineServer;
