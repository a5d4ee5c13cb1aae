//! Messages of any RPC, by what the descriptors say of them.

use std::fmt;

use bytes::Bytes;
use photon_api::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    MethodDescriptor, ReflectMessage, Value,
};

/// What the API says of its RPCs and their messages.
pub(super) struct Api(DescriptorPool);

impl Api {
    pub fn new() -> Self {
        Self(DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the API's descriptors"))
    }

    /// By `package.Service/Method`.
    pub fn method(&self, name: &str) -> MethodDescriptor {
        let (service, method) = name.split_once('/').expect("a method's name has a slash");
        let service = self.0.get_service_by_name(service);
        service
            .and_then(|service| service.methods().find(|it| it.name() == method))
            .unwrap_or_else(|| panic!("the API has no {name}"))
    }

    /// What reads one resource of the type that `answer` holds: `GetVpc` for the `Vpc` in a `CreateVpcResponse`.
    pub fn reader(&self, method: &MethodDescriptor) -> Option<MethodDescriptor> {
        let kind = resource_field(&method.output())?.kind();
        let Kind::Message(kind) = kind else {
            return None;
        };
        method.parent_service().methods().find(|it| {
            let read = resource_field(&it.output()).map(|field| field.kind());
            it.name().starts_with("Get") && read == Some(Kind::Message(kind.clone()))
        })
    }
}

/// The field of an answer that holds the one resource that it is about.
fn resource_field(answer: &MessageDescriptor) -> Option<FieldDescriptor> {
    answer.fields().find(|field| {
        let resource = |kind: &MessageDescriptor| kind.get_field_by_name("id").is_some();
        !field.is_list() && !field.is_map() && field.kind().as_message().is_some_and(resource)
    })
}

/// The one resource that an answer is about.
pub(super) fn resource(answer: &DynamicMessage) -> Option<DynamicMessage> {
    let field = resource_field(&answer.descriptor())?;
    answer.get_field(&field).as_message().cloned()
}

pub(super) fn decode(kind: MessageDescriptor, bytes: &Bytes) -> DynamicMessage {
    DynamicMessage::decode(kind, bytes.clone()).expect("a message of its own type")
}

pub(super) fn encode(message: &DynamicMessage) -> Bytes {
    message.encode_to_vec().into()
}

/// The text of a field, empty if there is none.
pub(super) fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    let text = value.as_deref().and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// Sets a text, if the message has such a field.
pub(super) fn set_text(message: &mut DynamicMessage, field: &str, text: &str) -> bool {
    let value = Value::String(text.to_owned());
    message.try_set_field_by_name(field, value).is_ok()
}

/// The message itself, or the first part of it, that has a field of this name: what a call streams begins with a header.
pub(super) fn holder<'a>(
    message: &'a mut DynamicMessage,
    field: &str,
) -> Option<&'a mut DynamicMessage> {
    if message.descriptor().get_field_by_name(field).is_some() {
        return Some(message);
    }
    message
        .fields_mut()
        .filter_map(|(_, value)| value.as_message_mut())
        .find(|inner| inner.descriptor().get_field_by_name(field).is_some())
}

/// Whether a call can be repeated under an id of its own.
pub(super) fn has_request_id(request: &MessageDescriptor) -> bool {
    let named = |kind: &MessageDescriptor| kind.get_field_by_name("request_id").is_some();
    named(request)
        || request
            .fields()
            .any(|field| field.kind().as_message().is_some_and(named))
}

/// Gives the message these labels, if it takes any.
pub(super) fn set_labels(message: &mut DynamicMessage, labels: &[(&str, &str)]) -> bool {
    let Some(message) = holder(message, "labels") else {
        return false;
    };
    let map = labels.iter().map(|(key, value)| {
        (
            MapKey::String((*key).to_owned()),
            Value::String((*value).to_owned()),
        )
    });
    let map = Value::Map(map.collect());
    let field = message.descriptor().get_field_by_name("labels");
    let field = field.expect("it is the holder of labels");
    match field.kind() {
        Kind::Message(wrapper) if !field.is_map() => {
            let mut inner = DynamicMessage::new(wrapper);
            inner.set_field_by_name("labels", map);
            message.set_field(&field, Value::Message(inner));
        }
        _ => message.set_field(&field, map),
    }
    true
}

/// The message with the entries of its maps in the order of this turn. Encoded messages one after the other are one
/// message, of which each says a part, so that any order can be written.
pub(super) fn encode_in_turn(message: &DynamicMessage, turn: usize) -> Bytes {
    let mut rest = message.clone();
    let mut entries = Vec::new();
    take_entries(&mut rest, &mut entries);
    // Maps of a message in memory have an order by chance; the turns are to be different ones.
    entries.sort();
    if !entries.is_empty() {
        let by = turn % entries.len();
        entries.rotate_left(by);
    }
    if turn % 2 == 1 {
        entries.reverse();
    }
    let mut bytes = rest.encode_to_vec();
    bytes.extend(entries.concat());
    bytes.into()
}

/// Takes the entries of all maps out of a message, each encoded as a message that has it alone.
fn take_entries(message: &mut DynamicMessage, entries: &mut Vec<Vec<u8>>) {
    let empty = DynamicMessage::new(message.descriptor());
    for (field, value) in message.fields_mut() {
        match value {
            Value::Map(map) => {
                for (key, value) in map.drain() {
                    let mut alone = empty.clone();
                    alone.set_field(&field, Value::Map([(key, value)].into()));
                    entries.push(alone.encode_to_vec());
                }
            }
            Value::Message(inner) => {
                let mut parts = Vec::new();
                take_entries(inner, &mut parts);
                for part in parts {
                    let part = decode(inner.descriptor(), &part.into());
                    let mut alone = empty.clone();
                    alone.set_field(&field, Value::Message(part));
                    entries.push(alone.encode_to_vec());
                }
            }
            _ => {}
        }
    }
}

/// A place in a message where a resource is named.
#[derive(Clone)]
pub(super) struct Place(Vec<Step>);

#[derive(Clone)]
enum Step {
    Field(FieldDescriptor),
    At(usize),
}

impl Place {
    /// The field of the message itself that this is, `id`; `None` for something deeper.
    pub fn own_field(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Step::Field(field)] => Some(field.name()),
            _ => None,
        }
    }

    /// What is named here.
    pub fn read(&self, message: &DynamicMessage) -> Option<String> {
        let mut value = Value::Message(message.clone());
        for step in &self.0 {
            value = match (step, &value) {
                (Step::Field(field), Value::Message(inner)) => inner.get_field(field).into_owned(),
                (Step::At(at), Value::List(list)) => list.get(*at)?.clone(),
                _ => return None,
            };
        }
        value.as_str().map(str::to_owned)
    }

    /// The message with something else named here.
    pub fn with(&self, message: &DynamicMessage, name: &str) -> DynamicMessage {
        let mut changed = Value::Message(message.clone());
        let mut value = &mut changed;
        for step in &self.0 {
            value = match (step, value) {
                (Step::Field(field), Value::Message(inner)) => inner.get_field_mut(field),
                (Step::At(at), Value::List(list)) => &mut list[*at],
                _ => panic!("{self} is not in {message}"),
            };
        }
        *value = Value::String(name.to_owned());
        match changed {
            Value::Message(message) => message,
            _ => unreachable!("it is the message that it was made of"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.0.iter().map(|step| match step {
            Step::Field(field) => field.name().to_owned(),
            Step::At(at) => at.to_string(),
        });
        f.write_str(&steps.collect::<Vec<_>>().join("."))
    }
}

/// Every place of a message where a resource is named, and its name there.
pub(super) fn references(message: &DynamicMessage) -> Vec<(Place, String)> {
    let mut found = Vec::new();
    look(message, &mut Vec::new(), &mut found);
    found
}

fn look(message: &DynamicMessage, at: &mut Vec<Step>, found: &mut Vec<(Place, String)>) {
    for (field, value) in message.fields() {
        let named = is_reference(field.name(), at.is_empty());
        at.push(Step::Field(field));
        match value {
            Value::String(text) if named => found.push((Place(at.clone()), text.clone())),
            Value::Message(inner) => look(inner, at, found),
            Value::List(list) => {
                for (n, value) in list.iter().enumerate() {
                    at.push(Step::At(n));
                    match value {
                        Value::String(text) if named => {
                            found.push((Place(at.clone()), text.clone()));
                        }
                        Value::Message(inner) => look(inner, at, found),
                        _ => {}
                    }
                    at.pop();
                }
            }
            _ => {}
        }
        at.pop();
    }
}

/// Whether a field of this name names a resource. `id` is what the request is about; a part of it (a disk, an interface)
/// has an `id` that is the caller's own word.
fn is_reference(field: &str, own: bool) -> bool {
    match field {
        "id" => own,
        "request_id" => false,
        "machine" | "node" | "scope" | "ids" => true,
        _ => field.ends_with("_id") || field.ends_with("_ids"),
    }
}
