//! The API's messages as JSON (the mapping of protobuf's documentation), which an operator can read.

use anyhow::{Context, Result};
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};

fn descriptor(name: &str) -> Result<MessageDescriptor> {
    DescriptorPool::decode(photon_api::FILE_DESCRIPTOR_SET)?
        .get_message_by_name(name)
        .with_context(|| format!("the API has no message {name}"))
}

/// Reads a message of this name, such as `prismnet.v1.DesiredNetwork`. Unknown fields are skipped: an agent that was
/// rolled back reads what its successor wrote.
///
/// Errors: the place and what is wrong there.
pub fn from_json<M: Message + Default>(name: &str, text: &[u8]) -> Result<M> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message =
        DynamicMessage::deserialize_with_options(descriptor(name)?, &mut deserializer, &options)?;
    deserializer.end()?;
    Ok(message.transcode_to()?)
}

/// Writes one.
///
/// Errors: there is no message of this name.
pub fn to_json<M: Message>(name: &str, message: &M) -> Result<serde_json::Value> {
    let message = DynamicMessage::decode(descriptor(name)?, message.encode_to_vec().as_slice())?;
    Ok(serde_json::to_value(&message)?)
}
