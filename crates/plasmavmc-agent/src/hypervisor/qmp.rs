//! QEMU's machine protocol (QMP): commands, answers and events as lines of JSON.
//!
//! Its own small client, where the `qapi` crate was the first choice: the QEMU at the other end may have
//! been taken over by its guest. `qapi` gathers a line of any length in memory, ends the connection at an event that is
//! younger than its schema, and panics on a repeated id; here a line has a limit, what is unknown is passed
//! over, and the handful of commands that an agent sends needs no generated schema.

mod client;
mod message;

pub use client::Qmp;
pub use message::{Decoder, LINE_LIMIT, Malformed, Message, command};

#[cfg(test)]
mod tests;
