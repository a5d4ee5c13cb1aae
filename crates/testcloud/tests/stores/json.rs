//! The API in JSON, by the names of its descriptors, so that what was written down of it outlives the generated code.

use bytes::Bytes;
use photon_testkit::walk::call;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;
use tonic::Status;
use tonic::transport::Channel;

/// The API's descriptors.
pub struct Api(DescriptorPool);

impl Api {
    pub fn new() -> Self {
        Self(DescriptorPool::decode(photon_api::FILE_DESCRIPTOR_SET).unwrap())
    }

    /// Calls `package.Service/Method` with these messages; the first message of the answer, with every field that the
    /// API has.
    pub async fn call(
        &self,
        channel: &Channel,
        token: Option<&str>,
        method: &str,
        messages: &[Value],
    ) -> Result<Value, Status> {
        let (service, name) = method.split_once('/').unwrap();
        let service = self
            .0
            .get_service_by_name(service)
            .unwrap_or_else(|| panic!("there is no service {service}"));
        let descriptor = service.methods().find(|it| it.name() == name);
        let descriptor = descriptor.unwrap_or_else(|| panic!("there is no method {method}"));
        let messages: Vec<Bytes> = messages
            .iter()
            .map(|message| encoded(descriptor.input(), message))
            .collect();
        let answer = call(channel, method, &messages, token, None).await;
        let answer = answer.unwrap_or_else(|| panic!("{method} does not answer"))?;
        let answer = DynamicMessage::decode(descriptor.output(), answer).unwrap();
        let options = SerializeOptions::new()
            .skip_default_fields(false)
            .use_proto_field_name(true)
            .stringify_64_bit_integers(false);
        Ok(answer
            .serialize_with_options(serde_json::value::Serializer, &options)
            .unwrap())
    }
}

fn encoded(descriptor: MessageDescriptor, message: &Value) -> Bytes {
    DynamicMessage::deserialize(descriptor, message)
        .unwrap_or_else(|error| panic!("{message}: {error}"))
        .encode_to_vec()
        .into()
}
