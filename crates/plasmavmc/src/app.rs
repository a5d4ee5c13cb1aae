//! The rules: what each call means for the records, and what follows from it.

mod access;
mod console;
mod console_session;
mod desired;
mod file;
mod image;
mod import;
mod list;
mod node;
mod port;
mod report;
mod saga;
mod vm;
mod vm_create;
mod watch;

pub use access::{Access, Reference};
pub use console::{ConsoleHub, Opened, Output};
pub use console_session::Consoles;
pub use desired::Desired;
pub use file::Files;
pub use image::Images;
pub use import::{Begun, Import};
pub use node::Nodes;
pub use port::Ports;
pub use report::Reports;
pub use saga::{Progress, Saga};
pub use vm::Vms;
pub use watch::{Supervision, VmWatch, Watches};
