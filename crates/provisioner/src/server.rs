//! The gRPC services: each handler finds out who calls, hands to the rules what the request converts to, and wraps the
//! answer.

mod enrolment;
mod machine;

pub use enrolment::EnrolmentServer;
pub use machine::MachineServer;
