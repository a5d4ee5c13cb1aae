//! What the server keeps, and under which keys.
//!
//! | key | record |
//! | --- | --- |
//! | `vm/{id}/desired`, `vm/{id}/status` | a VM: what is wanted, what its host reports; apart, so that reports and their owner's changes do not disturb each other |
//! | `vm-name/{org}/{project}/{name}` | its id |
//! | `vm-in/{org}/{project}/{id}` | for lists |
//! | `vm-on/{node}/{id}` | it is on this host; rewritten with each change of `desired`, which is what the host's stream follows |
//! | `vm-work/{id}` | the server has ports to attach or detach for it |
//! | `vm-uid/{uid}`, `vm-port/{port}` | which VM has the unix user, the port |
//! | `vm-refused/{id}` | why its creation was undone; kept for a day, for repeated calls |
//! | `vm-new-ports/{id}` | names of ports that are being made for a VM that is not there yet |
//! | `node/{name}`, `node-load/{name}` | a host, and what VMs take of it |
//! | `ssh-key/{id}`, `ssh-key-name/{org}/{project}/{name}`, `ssh-key-in/{org}/{project}/{id}` | an SSH key |
//! | `image/{id}`, `image-name/{scope}/{name}`, `image-in/{scope}/{id}` | an image; the scope is `{org}/{project}`, or `-/-` for the cloud's own |
//! | `image-public/{name}` | the public image of that name |
//! | `image-user/{image}/{vm}` | the VM starts from the image |
//! | `image-users/{image}` | touched by whoever adds a user of the image or deletes it |

pub mod blob;
pub mod image;
pub mod new_ports;
pub mod node;
mod ssh_key;
pub mod vm;
