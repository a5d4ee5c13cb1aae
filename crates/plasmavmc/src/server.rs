//! The gRPC services: each handler finds out who calls, hands the request to the rules, and wraps the answer.

mod image;
mod node;
mod vm;

pub use image::ImageServer;
pub use node::NodeServer;
pub use vm::VmServer;

use std::pin::Pin;

use futures::Stream;
use tonic::Status;

/// An answer that is a stream.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
