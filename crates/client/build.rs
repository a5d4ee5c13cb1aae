//! Says of every RPC, from the API's descriptors, what `src/call.rs` asks: path, answer, pages, request id.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn Error>> {
    let api = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .join("../api/src/generated/photoncloud.binpb");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", api.display());
    let descriptors = FileDescriptorSet::decode(fs::read(&api)?.as_slice())?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("calls.rs");
    fs::write(out, calls(&descriptors)?)?;
    Ok(())
}

/// `.iam.v1.Role` as Rust writes it.
fn path(full_name: &str) -> String {
    format!(
        "photon_api::{}",
        full_name.trim_start_matches('.').replace('.', "::")
    )
}

fn text<'a>(message: &'a DescriptorProto, name: &str) -> Option<&'a FieldDescriptorProto> {
    message.field.iter().find(|field| {
        field.name() == name
            && field.r#type() == Type::String
            && field.oneof_index.is_none()
            && field.label() == Label::Optional
    })
}

/// The one thing that an answer is about, if that is all that is in it: its field and the thing's full name.
fn carried(message: &DescriptorProto) -> Option<(&str, &str)> {
    match message.field.as_slice() {
        [field]
            if field.r#type() == Type::Message
                && field.label() == Label::Optional
                && !field.type_name().starts_with(".google.") =>
        {
            Some((field.name(), field.type_name()))
        }
        _ => None,
    }
}

/// What a page of a list has: its field and the things' full name.
fn listed(message: &DescriptorProto) -> Option<(&str, &str)> {
    text(message, "next_page_token")?;
    let field = message
        .field
        .iter()
        .find(|field| field.label() == Label::Repeated && field.r#type() == Type::Message)?;
    Some((field.name(), field.type_name()))
}

fn calls(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let mut messages = BTreeMap::new();
    for file in &descriptors.file {
        for message in &file.message_type {
            messages.insert(format!(".{}.{}", file.package(), message.name()), message);
        }
    }
    let mut code = String::new();
    let mut resources: BTreeMap<&str, String> = BTreeMap::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                // A call that is itself a stream has no one request.
                if method.client_streaming() {
                    continue;
                }
                let name = method.input_type();
                let request = messages.get(name).ok_or("a request without a message")?;
                let answer = messages
                    .get(method.output_type())
                    .ok_or("an answer without a message")?;
                let (rust, answer_rust) = (path(name), path(method.output_type()));
                let request_id = text(request, "request_id").is_some();
                let looks = ["Get", "List", "Verify", "WhoAmI", "Authorize"]
                    .iter()
                    .any(|word| method.name().starts_with(word));
                let repeatable = match (request_id, looks) {
                    (true, _) => "!self.request_id.is_empty()",
                    (false, looks) => ["false", "true"][usize::from(looks)],
                };
                let field = |field: &str| match text(request, field) {
                    Some(_) => format!("Some(&mut self.{field})"),
                    None => "None".to_owned(),
                };
                writeln!(
                    code,
                    "impl Call for {rust} {{
    type Answer = {answer_rust};
    const PATH: &'static str = \"/{package}.{service}/{method}\";
    const COMPONENT: &'static str = \"{component}\";
    fn is_repeatable(&self) -> bool {{ {repeatable} }}
    fn scope_mut(&mut self) -> (Option<&mut String>, Option<&mut String>) {{ ({org}, {project}) }}
}}",
                    package = file.package(),
                    service = service.name(),
                    method = method.name(),
                    component = file.package().split('.').next().unwrap_or_default(),
                    org = field("org_id"),
                    project = field("project_id"),
                )?;
                if method.server_streaming() {
                    writeln!(code, "impl Watch for {rust} {{}}")?;
                    continue;
                }
                writeln!(code, "impl Unary for {rust} {{}}")?;
                if text(request, "id").is_some() {
                    writeln!(
                        code,
                        "impl Of for {rust} {{ fn id_mut(&mut self) -> &mut String {{ &mut self.id }} }}"
                    )?;
                }
                if request_id {
                    writeln!(
                        code,
                        "impl Change for {rust} {{ fn request_id_mut(&mut self) -> &mut String {{ &mut self.request_id }} }}"
                    )?;
                }
                if let Some((items, item)) = listed(answer) {
                    resources.insert(item, path(item));
                    writeln!(
                        code,
                        "impl List for {rust} {{
    type Item = {};
    fn page_mut(&mut self) -> (&mut u32, &mut String) {{ (&mut self.page_size, &mut self.page_token) }}
    fn page(answer: Self::Answer) -> (Vec<Self::Item>, String) {{ (answer.{items}, answer.next_page_token) }}
}}",
                        path(item)
                    )?;
                }
                if let Some((field, resource)) = carried(answer) {
                    resources.insert(resource, path(resource));
                    writeln!(
                        code,
                        "impl Carries for {answer_rust} {{
    type Resource = {};
    fn resource(self) -> Option<Self::Resource> {{ self.{field} }}
}}",
                        path(resource)
                    )?;
                }
            }
        }
    }
    for (name, rust) in resources {
        writeln!(
            code,
            "impl Resource for {rust} {{ const NAME: &'static str = \"{}\"; }}",
            name.trim_start_matches('.')
        )?;
        let message = messages.get(name).ok_or("a resource without a message")?;
        if text(message, "id").is_some() && text(message, "name").is_some() {
            writeln!(
                code,
                "impl Named for {rust} {{
    fn id(&self) -> &str {{ &self.id }}
    fn name(&self) -> &str {{ &self.name }}
}}"
            )?;
        }
    }
    Ok(code)
}
