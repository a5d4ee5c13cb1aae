//! The rules: what each call means for the records, and what follows from it.

mod access;
mod catalogue;
mod console;
mod console_session;
mod desired;
mod fetch;
mod file;
mod image;
mod import;
mod new_ports;
mod node;
mod report;
mod saga;
mod ssh_key;
mod underway;
mod vm;
mod vm_create;
mod vm_interfaces;
mod watch;

pub use access::{Readers, image_to_use};
pub use catalogue::Catalogue;
pub use console::{Asked, ConsoleHub, FromHost, Opened, Output, ToHost};
pub use console_session::{Consoles, Session, Typed};
pub use desired::{Desired, DesiredWatch, News, Wanted};
pub use fetch::Fetched;
pub use file::Files;
pub use image::Images;
pub use import::Import;
pub use new_ports::NewPorts;
pub use node::{Nodes, Standing};
pub use report::{Reporter, Reports};
pub use saga::{Progress, Saga};
pub use ssh_key::SshKeys;
pub use vm::Vms;
pub use watch::{Gone, Told, VmWatch, Watches};
