//! The committed code is what the proto files and the table of components give.
//!
//! With `PHOTON_REGENERATE=1` this writes it anew instead of comparing.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use serde::Deserialize;

fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The table of components, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    component: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    name: String,
    title: String,
    serves: String,
    port: u16,
    #[serde(default)]
    more_ports: Vec<u16>,
    program: Vec<Program>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    name: String,
    kind: Kind,
    role: Option<String>,
    identity: Option<String>,
    calls: Vec<String>,
    metrics_port: Option<u16>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Server,
    Agent,
}

/// The table as Rust: a constant for each component, and one of all.
fn components() -> String {
    let path = crate_dir().join("components.toml");
    let table: Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut rust = String::from("// Made from components.toml by tests/generated.rs.\n");
    let constant = |name: &str| name.replace('-', "_").to_uppercase();
    for component in &table.component {
        let Component {
            name,
            title,
            serves,
            port,
            more_ports,
            program,
        } = component;
        for call in program.iter().flat_map(|program| &program.calls) {
            let known = table.component.iter().any(|other| other.name == *call);
            assert!(
                known,
                "a program of {name} calls {call}, which is no component"
            );
        }
        let first = program.first().map(|program| &program.kind);
        assert_eq!(first, Some(&Kind::Server), "the first program of {name}");
        write!(
            rust,
            "\n/// {title}.\npub static {}: Component = Component {{\n    name: {name:?},\n    title: {title:?},\n    \
             serves: {serves:?},\n    port: {port},\n    more_ports: &{more_ports:?},\n    \
             endpoint_variable: \"PHOTON_{}_ENDPOINT\",\n    \
             endpoint_flag: \"{name}-endpoint\",\n    \
             default_endpoint: \"http://127.0.0.1:{port}\",\n    programs: &[\n",
            constant(name),
            constant(name),
        )
        .unwrap();
        for program in program {
            let Program {
                name,
                kind,
                role,
                identity,
                calls,
                metrics_port,
            } = program;
            let metrics_port = match (kind, metrics_port) {
                (Kind::Server, None) => port + 1000,
                (Kind::Agent, Some(port)) => *port,
                _ => {
                    panic!("{name}: an agent has a metrics_port, and a server has none of its own")
                }
            };
            write!(
                rust,
                "        Program {{\n            name: {name:?},\n            kind: ProgramKind::{kind:?},\n            \
                 role: {role:?},\n            identity: {identity:?},\n            calls: &{calls:?},\n            \
                 metrics_port: {metrics_port},\n        }},\n",
            )
            .unwrap();
        }
        rust.push_str("    ],\n};\n");
    }
    let all: Vec<String> = table
        .component
        .iter()
        .map(|it| format!("&{}", constant(&it.name)))
        .collect();
    write!(
        rust,
        "\n/// All components, in the order in which a cloud starts them.\npub static COMPONENTS: [&Component; {}] = [{}];\n",
        all.len(),
        all.join(", "),
    )
    .unwrap();
    rust
}

fn generate_into(out: &Path) {
    fs::write(out.join("components.rs"), components()).unwrap();
    let proto = crate_dir().join("proto");
    let files = [
        "iam/v1/iam.proto",
        "iam/v1/session.proto",
        "prismnet/v1/prismnet.proto",
        "prismnet/v1/egress.proto",
        "prismnet/v1/routing.proto",
        "prismnet/v1/peering.proto",
        "prismnet/v1/trace.proto",
        "plasmavmc/v1/plasmavmc.proto",
        "flashdns/v1/flashdns.proto",
        "chainfire/v1/chainfire.proto",
        "provisioner/v1/provisioner.proto",
        "tenancy/v1/tenancy.proto",
        "quota/v1/quota.proto",
    ];
    let descriptors = protox::Compiler::new([&proto])
        .expect("the proto directory exists")
        .include_source_info(true)
        .include_imports(true)
        .open_files(files)
        .unwrap_or_else(|error| panic!("proto files do not compile: {error:?}"))
        .file_descriptor_set();
    fs::write(out.join("photoncloud.binpb"), descriptors.encode_to_vec()).unwrap();
    fs::write(out.join("requests.rs"), requests(&descriptors)).unwrap();
    tonic_prost_build::configure()
        .out_dir(out)
        // In one order, so that equal messages have equal bytes: the digest of a repeated request is of them.
        .btree_map(".")
        .compile_fds(descriptors)
        .unwrap();
}

/// A field's name, and whether it is repeated, optional, and of which type.
fn field(message: &DescriptorProto, name: &str) -> Option<(Label, bool, Type)> {
    let field = message.field.iter().find(|it| it.name() == name)?;
    // Several kinds of one thing are no field of all of them.
    let plain = field.oneof_index.is_none() || field.proto3_optional();
    plain.then(|| (field.label(), field.proto3_optional(), field.r#type()))
}

/// The traits of `src/request.rs` for every message that has their fields.
fn requests(descriptors: &FileDescriptorSet) -> String {
    let text = |message: &DescriptorProto, name: &str| {
        field(message, name) == Some((Label::Optional, false, Type::String))
    };
    let number = |message: &DescriptorProto, name: &str, of: Type| {
        field(message, name) == Some((Label::Optional, false, of))
    };
    let map = |message: &DescriptorProto, name: &str| {
        matches!(
            field(message, name),
            Some((Label::Repeated, false, Type::Message))
        )
    };
    let mut code = String::from("// This file is @generated by tests/generated.rs.\n");
    for file in &descriptors.file {
        let module = file.package().replace('.', "::");
        let ours = file.package().ends_with(".v1");
        for message in file.message_type.iter().filter(|_| ours) {
            if !message.name().ends_with("Request") {
                continue;
            }
            let mut add = |name: &str, body: &[(&str, &str, &str)]| {
                code += &format!("impl {name} for crate::{module}::{} {{\n", message.name());
                for (field, kind, by) in body {
                    code += &format!(
                        "    fn {field}(&self) -> {kind} {{\n        {by}self.{field}\n    }}\n"
                    );
                }
                code += "}\n";
            };
            if text(message, "id") {
                add("Named", &[("id", "&str", "&")]);
            }
            if text(message, "org_id") && text(message, "project_id") {
                add(
                    "InTenant",
                    &[("org_id", "&str", "&"), ("project_id", "&str", "&")],
                );
            }
            if text(message, "request_id") {
                add("Repeatable", &[("request_id", "&str", "&")]);
            }
            if number(message, "page_size", Type::Uint32) && text(message, "page_token") {
                add(
                    "Paged",
                    &[("page_size", "u32", ""), ("page_token", "&str", "&")],
                );
            }
            if text(message, "name") && map(message, "labels") {
                add(
                    "Labelled",
                    &[
                        ("name", "&str", "&"),
                        ("labels", "&BTreeMap<String, String>", "&"),
                    ],
                );
            }
            if number(message, "since_revision", Type::Uint64) {
                add("Since", &[("since_revision", "u64", "")]);
            }
        }
    }
    code
}

#[test]
fn generated_code_is_fresh() {
    let committed = crate_dir().join("src/generated");
    if std::env::var_os("PHOTON_REGENERATE").is_some() {
        generate_into(&committed);
        return;
    }
    let fresh = tempfile::tempdir().unwrap();
    generate_into(fresh.path());
    let mut stale: Vec<String> = Vec::new();
    for entry in fs::read_dir(fresh.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if fs::read(entry.path()).unwrap() != fs::read(committed.join(&name)).unwrap_or_default() {
            stale.push(name.to_string_lossy().into_owned());
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?} differ from the proto files or components.toml; run PHOTON_REGENERATE=1 cargo test -p photon-api"
    );
}
