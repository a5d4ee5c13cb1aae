//! The proto files are the API's reference: everything in them has its comment.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

// Field numbers of descriptor.proto, of which source paths are made.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const MESSAGE_FIELD: i32 = 2;
const ENUM_VALUE: i32 = 2;
const SERVICE_METHOD: i32 = 2;

fn undocumented(file: &FileDescriptorProto) -> Vec<String> {
    let commented: BTreeSet<&[i32]> = file
        .source_code_info
        .iter()
        .flat_map(|info| &info.location)
        .filter(|location| {
            !location.leading_comments().trim().is_empty()
                || !location.trailing_comments().trim().is_empty()
        })
        .map(|location| location.path.as_slice())
        .collect();
    let mut missing = Vec::new();
    let mut check = |path: &[i32], name: String| {
        if !commented.contains(path) {
            missing.push(name);
        }
    };
    for (at, message) in (0..).zip(&file.message_type) {
        check(&[FILE_MESSAGE, at], message.name().to_owned());
        for (field_at, field) in (0..).zip(&message.field) {
            let name = format!("{}.{}", message.name(), field.name());
            check(&[FILE_MESSAGE, at, MESSAGE_FIELD, field_at], name);
        }
    }
    for (at, service) in (0..).zip(&file.service) {
        check(&[FILE_SERVICE, at], service.name().to_owned());
        for (method_at, method) in (0..).zip(&service.method) {
            let name = format!("{}/{}", service.name(), method.name());
            check(&[FILE_SERVICE, at, SERVICE_METHOD, method_at], name);
        }
    }
    for (at, kind) in (0..).zip(&file.enum_type) {
        check(&[FILE_ENUM, at], kind.name().to_owned());
        for (value_at, value) in (0..).zip(&kind.value) {
            // The zero value of every enum is "not said", by protobuf's style.
            if value.number() != 0 {
                check(
                    &[FILE_ENUM, at, ENUM_VALUE, value_at],
                    value.name().to_owned(),
                );
            }
        }
    }
    missing
}

#[test]
fn everything_in_the_api_has_a_comment() {
    let set = FileDescriptorSet::decode(photon_api::FILE_DESCRIPTOR_SET).unwrap();
    let mut missing = Vec::new();
    for file in set
        .file
        .iter()
        .filter(|file| !file.package().starts_with("google."))
    {
        let package = file.package();
        missing.extend(
            undocumented(file)
                .into_iter()
                .map(|name| format!("{package}.{name}")),
        );
    }
    assert!(
        missing.is_empty(),
        "without a comment: {}",
        missing.join(", ")
    );
}
