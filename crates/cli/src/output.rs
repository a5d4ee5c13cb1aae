//! Answers: tables for people, JSON and YAML (the API's own field names and forms) for scripts.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use tabwriter::TabWriter;

use crate::error::Failure;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document (proto3 JSON, fields named as in the API).
    Json,
    /// The same as YAML.
    Yaml,
}

/// A column of a table: its head and the field that fills it (dots descend).
pub type Column = (&'static str, &'static str);

/// Where answers go.
pub struct Output {
    format: Format,
}

fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        // Our own generated file: a test reads it.
        DescriptorPool::decode(photon_api::FILE_DESCRIPTOR_SET)
            .expect("the API's descriptors are well formed")
    })
}

/// A message of the API as JSON, fields named as in the proto files, default values left in.
pub fn to_json<M: Message>(full_name: &str, message: &M) -> Result<Value, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::Local(format!("cannot print a {full_name}: {error}"))
    };
    let descriptor = pool()
        .get_message_by_name(full_name)
        .ok_or_else(|| wrong(&"no such message in the API"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| wrong(&error))?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false)
        .stringify_64_bit_integers(false);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| wrong(&error))
}

impl Output {
    /// Prints in this format.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether people read it.
    pub fn for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// Prints one message: as a table of fields and values, or whole.
    pub fn one<M: Message>(&self, full_name: &str, message: &M) -> Result<(), Failure> {
        self.value(&to_json(full_name, message)?)
    }

    /// Prints many messages: as a table with these columns, or whole.
    pub fn many<M: Message>(
        &self,
        full_name: &str,
        messages: &[M],
        columns: &[Column],
    ) -> Result<(), Failure> {
        let rows: Result<Vec<Value>, Failure> = messages
            .iter()
            .map(|message| to_json(full_name, message))
            .collect();
        self.rows(rows?, columns)
    }

    /// Prints one JSON value.
    pub fn value(&self, value: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let mut lines = Vec::new();
                describe("", value, &mut lines);
                let rows: Vec<Vec<String>> = lines
                    .into_iter()
                    .map(|(name, text)| vec![name, text])
                    .collect();
                print_aligned(&rows)
            }
            Format::Json => print_text(&json(value)?),
            Format::Yaml => print_text(&yaml(value)?),
        }
    }

    /// Prints many JSON values.
    pub fn rows(&self, rows: Vec<Value>, columns: &[Column]) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let mut table = vec![columns.iter().map(|(head, _)| (*head).to_owned()).collect()];
                for row in &rows {
                    table.push(
                        columns
                            .iter()
                            .map(|(_, path)| cell(lookup(row, path)))
                            .collect(),
                    );
                }
                print_aligned(&table)
            }
            Format::Json => print_text(&json(&Value::Array(rows))?),
            Format::Yaml => print_text(&yaml(&Value::Array(rows))?),
        }
    }

    /// Says what was done, for people only: scripts read the exit code.
    pub fn done(&self, text: &str) {
        if self.for_people() {
            println!("{text}");
        }
    }
}

fn json(value: &Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::Local(format!("cannot print JSON: {error}")))
}

fn yaml(value: &Value) -> Result<String, Failure> {
    serde_saphyr::to_string(value)
        .map_err(|error| Failure::Local(format!("cannot print YAML: {error}")))
}

fn print_text(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader of the pipe has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Local(format!("cannot print: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn print_aligned(rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut writer = TabWriter::new(Vec::new()).padding(2);
    for row in rows {
        // A tenant chose some of these texts: no control character of theirs reaches the terminal.
        let clean: Vec<String> = row
            .iter()
            .map(|text| text.replace(char::is_control, " "))
            .collect();
        let written = writeln!(writer, "{}", clean.join("\t").trim_end());
        written.map_err(|error| Failure::Local(format!("cannot print: {error}")))?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| Failure::Local(format!("cannot print: {error}")))?;
    print_text(&String::from_utf8_lossy(&bytes))
}

fn lookup<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, part| match value {
        Value::Array(items) => items.first().map_or(&Value::Null, |item| &item[part]),
        other => &other[part],
    })
}

/// Enum names lose the prefix that protobuf style puts before them: `VM_PHASE_RUNNING` reads RUNNING.
const ENUM_PREFIXES: [&str; 13] = [
    "VM_PHASE_",
    "POWER_STATE_",
    "PORT_STATUS_",
    "PRINCIPAL_KIND_",
    "IMAGE_FORMAT_",
    "IMAGE_PART_",
    "MACHINE_STATE_",
    "RESTART_POLICY_",
    "HYPERVISOR_KIND_",
    "DEVICE_TYPE_",
    "DIRECTION_",
    "PROTOCOL_",
    "OUTCOME_",
];

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => {
            let short = ENUM_PREFIXES
                .iter()
                .find_map(|prefix| text.strip_prefix(prefix));
            short.map_or_else(|| text.clone(), str::to_lowercase)
        }
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(cell).collect();
            if texts.is_empty() {
                "-".to_owned()
            } else {
                texts.join(",")
            }
        }
        Value::Object(fields) => {
            let texts: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{key}={}", cell(value)))
                .collect();
            if texts.is_empty() {
                "-".to_owned()
            } else {
                texts.join(",")
            }
        }
        other => other.to_string(),
    }
}

fn describe(prefix: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else {
        lines.push((prefix.to_owned(), cell(value)));
        return;
    };
    for (key, value) in fields {
        let name = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Value::Object(inner) if !inner.is_empty() => describe(&name, value, lines),
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (at, item) in items.iter().enumerate() {
                    describe(&format!("{name}[{at}]"), item, lines);
                }
            }
            _ => lines.push((name, cell(value))),
        }
    }
}

/// A line of progress on standard error: rewritten in place on a terminal, a line each elsewhere.
pub struct Progress {
    terminal: bool,
    last: String,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            last: String::new(),
        }
    }

    /// Shows the text, if it is new.
    pub fn show(&mut self, text: &str) {
        if text == self.last {
            return;
        }
        if self.terminal {
            eprint!("\r\x1b[K{text}");
        } else {
            eprintln!("{text}");
        }
        self.last = text.to_owned();
    }

    /// Ends the line.
    pub fn finish(self) {
        if self.terminal && !self.last.is_empty() {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use photon_api::plasmavmc::v1::{Vm, VmPhase};

    use super::*;

    #[test]
    fn a_message_prints_with_the_apis_names() {
        let vm = Vm {
            name: "web".into(),
            phase: VmPhase::Running.into(),
            ..Vm::default()
        };
        let json = to_json("plasmavmc.v1.Vm", &vm).unwrap();
        assert_eq!(json["name"], "web");
        assert_eq!(json["phase"], "VM_PHASE_RUNNING");
        assert_eq!(json["org_id"], "");
        assert_eq!(cell(lookup(&json, "phase")), "running");
        assert_eq!(cell(lookup(&json, "spec.vcpus")), "-");
    }

    #[test]
    fn yaml_reads_back() {
        let text = yaml(&serde_json::json!({"a": [1, "x: y"]})).unwrap();
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, serde_json::json!({"a": [1, "x: y"]}));
    }
}
