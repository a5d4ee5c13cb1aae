//! Answers: tables for people, JSON and YAML (the API's own field names and forms) for scripts.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use photon_client::call::Resource;
use photon_resource::is_hidden;
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
    let mut value = dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| wrong(&error))?;
    sort_labels(&mut value);
    Ok(value)
}

/// Fields have the order of the API; labels, which are a map and have none, get that of their keys.
fn sort_labels(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    if let Some(Value::Object(labels)) = fields.get_mut("labels") {
        labels.sort_keys();
    }
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

    /// Prints one resource: as a table of fields and values, or whole.
    pub fn one<R: Resource>(&self, resource: &R) -> Result<(), Failure> {
        self.message(R::NAME, resource)
    }

    /// Prints a message that is no resource, an answer for example, as [`one`](Self::one) does.
    pub fn message<M: Message>(&self, full_name: &str, message: &M) -> Result<(), Failure> {
        self.value(&to_json(full_name, message)?)
    }

    /// Prints many resources: as a table with these columns, or whole.
    pub fn many<R: Resource>(&self, resources: &[R], columns: &[Column]) -> Result<(), Failure> {
        let rows: Result<Vec<Value>, Failure> = resources
            .iter()
            .map(|resource| to_json(R::NAME, resource))
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
    pub fn done(&self, text: &str) -> Result<(), Failure> {
        match self.for_people() {
            true => self.line(text),
            false => Ok(()),
        }
    }

    /// Prints a line as it is.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        print_text(&format!("{text}\n"))
    }

    /// Prints text as it is.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        print_text(text)
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

/// All that goes to standard output goes through here: `println!` would panic when the reader of a pipe has gone.
fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::print)
}

fn print_aligned(rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut writer = TabWriter::new(Vec::new()).padding(2);
    for row in rows {
        // A tenant chose some of these texts: none that is hidden, or an order to it, reaches the terminal.
        let clean: Vec<String> = row
            .iter()
            .map(|text| text.replace(is_hidden, " "))
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

/// How a transfer is shown.
const BAR: &str =
    "{bar:40} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// What is being waited for, on standard error while that is a terminal; nothing is shown elsewhere.
pub struct Progress(ProgressBar);

impl Progress {
    /// Of something whose end is not known: what is said of it, and for how long.
    pub fn waiting() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Of so many bytes.
    pub fn of_bytes(total: u64) -> Self {
        let bar = ProgressBar::new(total);
        // The template is ours: a test looks that it is one.
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows the text.
    pub fn show(&self, text: &str) {
        self.0.set_message(text.replace(is_hidden, " "));
    }

    /// Counts bytes.
    pub fn count(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Ends it; the line is free for what follows.
    pub fn finish(self) {
        self.0.finish_and_clear();
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
    fn labels_have_one_order_and_other_fields_the_apis() {
        let vm = Vm {
            labels: ["z", "b", "m", "a", "y", "c"]
                .map(|key| (key.to_owned(), "1".to_owned()))
                .into_iter()
                .collect(),
            ..Vm::default()
        };
        let json = to_json("plasmavmc.v1.Vm", &vm).unwrap();
        assert_eq!(cell(&json["labels"]), "a=1,b=1,c=1,m=1,y=1,z=1");
        let first = json.as_object().unwrap().keys().next().unwrap();
        assert_eq!(first, "id");
    }

    #[test]
    fn a_bars_template_is_well_formed() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }

    #[test]
    fn yaml_reads_back() {
        let text = yaml(&serde_json::json!({"a": [1, "x: y"]})).unwrap();
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, serde_json::json!({"a": [1, "x: y"]}));
    }
}
