//! The desired state on disk, so that a host restores its networks while the control plane is away.
//!
//! It is the API's message as JSON (the mapping of protobuf's documentation), which an operator can read, and
//! which `prismnet-agent apply --from FILE` takes too. Unknown fields are skipped: an agent that was rolled back
//! reads what its successor wrote.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use photon_api::prismnet::v1::DesiredNetwork;
use photon_host::durable;
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};

/// The file of the desired state.
#[derive(Clone, Debug)]
pub struct Cache(PathBuf);

impl Cache {
    /// In a state directory, which must exist.
    pub fn in_directory(directory: &Path) -> Self {
        Self(directory.join("desired.json"))
    }

    /// What was stored last; `None` if nothing was.
    ///
    /// Errors: the file can't be read, or is not what [`Self::store`] writes.
    pub fn load(&self) -> Result<Option<DesiredNetwork>> {
        match std::fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", self.0.display())),
            Ok(text) => from_json(&text)
                .with_context(|| format!("read {}", self.0.display()))
                .map(Some),
        }
    }

    /// Stores it; when this returns, it survives a power cut.
    pub fn store(&self, desired: &DesiredNetwork) -> Result<()> {
        durable::write(&self.0, to_json(desired)?.as_bytes(), 0o600)?;
        Ok(())
    }
}

fn descriptor() -> Result<MessageDescriptor> {
    DescriptorPool::decode(photon_api::FILE_DESCRIPTOR_SET)?
        .get_message_by_name("prismnet.v1.DesiredNetwork")
        .context("the API has no message prismnet.v1.DesiredNetwork")
}

/// Reads the JSON of a desired state.
pub fn from_json(text: &str) -> Result<DesiredNetwork> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message =
        DynamicMessage::deserialize_with_options(descriptor()?, &mut deserializer, &options)?;
    deserializer.end()?;
    Ok(message.transcode_to()?)
}

fn to_json(desired: &DesiredNetwork) -> Result<String> {
    let message = DynamicMessage::decode(descriptor()?, desired.encode_to_vec().as_slice())?;
    Ok(serde_json::to_string_pretty(&message)?)
}
