//! What a spec must be. Every refusal names the field as the API does, the value, and what is accepted.

use std::collections::HashSet;

use photon_resource::{Error, ImageId, PortId};

use super::{Disk, Interface, NewInterface, NewSpec, Size, Spec};
use crate::model::{Image, ImageFormat, PublicKey};

/// The bounds of a disk, in bytes: 1 MiB and 16 TiB.
pub const MIN_DISK_BYTES: u64 = 1 << 20;
pub const MAX_DISK_BYTES: u64 = 16 << 40;

const MAX_DISKS: usize = 16;
/// Interfaces of a VM at the same time.
pub(super) const MAX_INTERFACES: usize = 16;
/// On hosts of the release before each takes one of the 32 slots of the machine's root bus; the chipset has two, the seed and
/// the source of random numbers one each.
const MAX_DEVICES: usize = 28;
/// The loopback interface's name, and what stands beside interfaces' names in `/proc/sys/net/ipv4/conf`.
const TAKEN_IN_LINUX: [&str; 3] = ["lo", "all", "default"];
/// Of those that the project keeps as many may be named.
pub const MAX_SSH_KEYS: usize = 64;
/// All of them together, in bytes: a VM is one record in the store, which has bounds of its own.
const MAX_SSH_KEY_BYTES: usize = 64 * 1024;
/// x86's COMMAND_LINE_SIZE is 2048 with the final NUL (`arch/x86/include/asm/setup.h`).
const MAX_COMMAND_LINE: usize = 2047;

pub fn check_vcpus(field: &str, vcpus: u32) -> Result<(), Error> {
    if (1..=64).contains(&vcpus) {
        return Ok(());
    }
    Err(Error::invalid(field, vcpus, "1 to 64"))
}

pub fn check_memory(field: &str, memory_mib: u64) -> Result<(), Error> {
    if (64..=1_048_576).contains(&memory_mib) {
        return Ok(());
    }
    Err(Error::invalid(field, memory_mib, "64 to 1048576 MiB"))
}

impl NewSpec {
    /// Checks everything that can be checked without looking at images and ports.
    ///
    /// Errors: `InvalidArgument`.
    pub fn validate(&self) -> Result<(), Error> {
        let Size { vcpus, memory_mib } = self.size;
        check_vcpus("spec.vcpus", vcpus)?;
        check_memory("spec.memory_mib", memory_mib)?;
        self.validate_disks()?;
        self.validate_boot()?;
        self.validate_network()?;
        self.validate_devices()?;
        self.user_data.check("spec.user_data")?;
        self.validate_ssh_keys()?;
        self.metadata.check("spec.metadata_options")?;
        validate_hostname(&self.hostname)
    }

    fn validate_disks(&self) -> Result<(), Error> {
        at_most("spec.disks", self.disks.len(), MAX_DISKS)?;
        let mut seen = HashSet::new();
        for (index, disk) in self.disks.iter().enumerate() {
            let field = format!("spec.disks[{index}]");
            // A virtio disk's serial, by which the guest finds it, has 20 bytes.
            validate_part_name(&format!("{field}.id"), &disk.id, 20)?;
            if !seen.insert(&disk.id) {
                let expected = "an id that no other disk of the VM has";
                return Err(Error::invalid(format!("{field}.id"), &disk.id, expected));
            }
            let from_image = disk.image.is_some() && disk.size_bytes == 0;
            if !from_image && !size_is_accepted(disk.size_bytes) {
                let expected = if disk.image.is_some() {
                    "0 (the image's size), or 1048576 (1 MiB) to 17592186044416 (16 TiB) in whole sectors of 512"
                } else {
                    "1048576 (1 MiB) to 17592186044416 (16 TiB) in whole sectors of 512, since it starts from no image"
                };
                let field = format!("{field}.size_bytes");
                return Err(Error::invalid(field, disk.size_bytes, expected));
            }
        }
        Ok(())
    }

    fn validate_boot(&self) -> Result<(), Error> {
        let field = "spec.kernel_command_line";
        let line = &self.kernel_command_line;
        if !line.is_empty() && self.kernel_image.is_none() {
            let expected = "nothing, unless spec.kernel_image_id names a kernel to give it to";
            return Err(Error::invalid(field, line, expected));
        }
        check_command_line(field, line)
    }

    fn validate_network(&self) -> Result<(), Error> {
        at_most("spec.network", self.network.len(), MAX_INTERFACES)?;
        for (index, interface) in self.network.iter().enumerate() {
            let field = format!("spec.network[{index}]");
            let others = self.network[..index].iter();
            let plugged = |it: &'_ NewInterface| (it.id.clone(), it.port_id());
            check_interface(&field, plugged(interface), others.map(plugged))?;
        }
        Ok(())
    }

    fn validate_devices(&self) -> Result<(), Error> {
        let (disks, interfaces) = (self.disks.len(), self.network.len());
        if disks + interfaces <= MAX_DEVICES {
            return Ok(());
        }
        let value = format!("({interfaces} interfaces beside {disks} disks)");
        let expected = "at most 28 disks and interfaces together";
        Err(Error::invalid("spec.network", value, expected))
    }

    fn validate_ssh_keys(&self) -> Result<(), Error> {
        let keys = &self.ssh_authorized_keys;
        at_most("spec.ssh_authorized_keys", keys.len(), MAX_SSH_KEYS)?;
        for (index, key) in keys.iter().enumerate() {
            PublicKey::parse(&format!("spec.ssh_authorized_keys[{index}]"), key)?;
        }
        let bytes: usize = keys.iter().map(String::len).sum();
        if bytes > MAX_SSH_KEY_BYTES {
            let value = format!("({bytes} bytes)");
            let expected = "at most 65536 bytes together";
            return Err(Error::invalid("spec.ssh_authorized_keys", value, expected));
        }
        Ok(())
    }
}

impl Spec {
    /// Checks an interface that is to be added.
    ///
    /// Errors: `InvalidArgument`.
    pub(super) fn check_new_interface(&self, interface: &Interface) -> Result<(), Error> {
        let plugged = |it: &Interface| (it.id.clone(), Some(it.port_id));
        let others = self.network.iter().map(plugged);
        check_interface("interface", plugged(interface), others)?;
        let (disks, interfaces) = (self.disks.len(), self.network.len() + 1);
        if interfaces <= MAX_INTERFACES && disks + interfaces <= MAX_DEVICES {
            return Ok(());
        }
        let value = format!("({interfaces} interfaces beside {disks} disks)");
        let expected = "at most 16 interfaces, and at most 28 disks and interfaces together";
        Err(Error::invalid("interface", value, expected))
    }
}

impl NewSpec {
    /// The spec with its images found and without its interfaces, and those, whose ports may yet have to be made.
    /// `images` gives an image for each text that the spec refers to.
    ///
    /// Errors: `InvalidArgument` if an image is not of the kind that its place needs, or larger than
    /// the disk that is to start from it.
    pub fn resolve(self, images: &[(String, Image)]) -> Result<(Spec, Vec<NewInterface>), Error> {
        let image = |field: &str, reference: &String| {
            let found = images.iter().find(|(text, _)| text == reference);
            found
                .map(|(_, image)| image)
                .ok_or_else(|| Error::invalid(field, reference, "the id or name of an image"))
        };
        let mut disks = Vec::with_capacity(self.disks.len());
        for (index, disk) in self.disks.into_iter().enumerate() {
            let found = match &disk.image {
                Some(reference) => {
                    let field = format!("spec.disks[{index}].image_id");
                    Some((reference, image(&field, reference)?))
                }
                None => None,
            };
            disks.push(resolve_disk(index, &disk, found)?);
        }
        let kernel_image = match &self.kernel_image {
            None => None,
            Some(reference) => Some(kernel(
                reference,
                image("spec.kernel_image_id", reference)?,
            )?),
        };
        let spec = Spec {
            size: self.size,
            disks,
            kernel_image,
            kernel_command_line: self.kernel_command_line,
            network: Vec::new(),
            user_data: self.user_data,
            ssh_authorized_keys: self.ssh_authorized_keys,
            hostname: self.hostname,
            restart_policy: self.restart_policy,
            hypervisor: self.hypervisor,
            metadata: self.metadata,
        };
        Ok((spec, self.network))
    }
}

fn resolve_disk(
    index: usize,
    disk: &Disk<String>,
    image: Option<(&String, &Image)>,
) -> Result<Disk, Error> {
    let mut size_bytes = disk.size_bytes;
    if let Some((reference, image)) = image {
        if !image.format.is_disk() {
            return Err(Error::invalid(
                format!("spec.disks[{index}].image_id"),
                reference,
                format!(
                    "an image of a disk (IMAGE_FORMAT_RAW or IMAGE_FORMAT_QCOW2); this one is {}, \
                     which spec.kernel_image_id takes",
                    image.format.as_str()
                ),
            ));
        }
        // A small image still makes a disk of the least size.
        let least = image.virtual_size_bytes.max(MIN_DISK_BYTES);
        if size_bytes == 0 {
            size_bytes = least;
        } else if size_bytes < least {
            return Err(Error::invalid(
                format!("spec.disks[{index}].size_bytes"),
                size_bytes,
                format!("0, or at least the {least} bytes of image '{}'", image.name),
            ));
        }
    }
    Ok(Disk {
        id: disk.id.clone(),
        image: image.map(|(_, image)| image.id),
        size_bytes,
    })
}

fn kernel(reference: &str, image: &Image) -> Result<ImageId, Error> {
    if image.format == ImageFormat::KernelInitrd {
        return Ok(image.id);
    }
    let expected = format!(
        "an image of format IMAGE_FORMAT_KERNEL_INITRD; this one is {}, which spec.disks takes",
        image.format.as_str()
    );
    Err(Error::invalid("spec.kernel_image_id", reference, expected))
}

fn size_is_accepted(bytes: u64) -> bool {
    (MIN_DISK_BYTES..=MAX_DISK_BYTES).contains(&bytes) && bytes.is_multiple_of(512)
}

fn at_most(field: &str, count: usize, limit: usize) -> Result<(), Error> {
    if count <= limit {
        return Ok(());
    }
    let value = format!("({count} entries)");
    Err(Error::invalid(field, value, format!("at most {limit}")))
}

/// Checks an interface, its name and its port, beside those that the VM has.
fn check_interface(
    field: &str,
    (name, port): (String, Option<PortId>),
    others: impl Iterator<Item = (String, Option<PortId>)>,
) -> Result<(), Error> {
    let id = format!("{field}.id");
    // The guest's interface has this name, which in Linux has 15 bytes.
    validate_part_name(&id, &name, 15)?;
    if TAKEN_IN_LINUX.contains(&name.as_str()) {
        let expected = "a name that Linux does not have already: not 'lo', 'all' or 'default'";
        return Err(Error::invalid(id, &name, expected));
    }
    for (other_name, other_port) in others {
        if other_name == name {
            let expected = "an id that no other interface of the VM has";
            return Err(Error::invalid(id, &name, expected));
        }
        if let Some(port) = port.filter(|_| other_port == port) {
            let expected = "a port that no other interface of the VM has";
            return Err(Error::invalid(format!("{field}.port_id"), port, expected));
        }
    }
    Ok(())
}

/// Names of a VM's parts become file names and device names on the host.
fn validate_part_name(field: &str, name: &str, longest: usize) -> Result<(), Error> {
    let good = (1..=longest).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good {
        return Ok(());
    }
    let expected = format!("1 to {longest} of a-z, 0-9 and '-', beginning with a letter");
    Err(Error::invalid(field, name, expected))
}

/// A kernel command line: one line of printable text.
pub(crate) fn check_command_line(field: &str, line: &str) -> Result<(), Error> {
    if line.len() <= MAX_COMMAND_LINE && !line.chars().any(char::is_control) {
        return Ok(());
    }
    let expected = "at most 2047 bytes without control characters";
    Err(Error::invalid(field, line, expected))
}

/// A host name (RFC 1123): labels separated by dots.
fn validate_hostname(hostname: &str) -> Result<(), Error> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if hostname.len() <= 253 && hostname.split('.').all(label) {
        return Ok(());
    }
    let expected = "a host name: labels of 1 to 63 of a-z, 0-9 and '-', separated by dots, at most 253 characters";
    Err(Error::invalid("spec.hostname", hostname, expected))
}
