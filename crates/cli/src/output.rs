//! Answers: tables for people; JSON and YAML (the API's own field names and forms), CSV and names alone for scripts.

mod cell;
mod progress;
mod shape;

use std::io::Write;
use std::sync::OnceLock;

use clap::ValueEnum;
use photon_client::call::Resource;
use photon_resource::is_hidden;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;
use tabwriter::TabWriter;

pub use cell::plain_values;
pub use progress::Progress;
pub use shape::Shape;

use crate::error::Failure;
use cell::{Reader, cell, describe};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document (proto3 JSON, fields and values named as in the API).
    Json,
    /// The same as YAML.
    Yaml,
    /// The table's columns as comma-separated values (RFC 4180), times and sizes exact.
    Csv,
    /// Names alone, one a line; ids of what has no name.
    Name,
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

fn descriptor(full_name: &str) -> Option<MessageDescriptor> {
    pool().get_message_by_name(full_name)
}

/// Whether messages of this name have that field.
pub fn has_field(full_name: &str, field: &str) -> bool {
    descriptor(full_name).is_some_and(|of| of.get_field_by_name(field).is_some())
}

/// A message of the API as JSON, fields named as in the proto files, default values left in.
pub fn to_json<M: Message>(full_name: &str, message: &M) -> Result<Value, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::Local(format!("cannot print a {full_name}: {error}"))
    };
    let descriptor = descriptor(full_name).ok_or_else(|| wrong(&"no such message in the API"))?;
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

/// Messages as rows, as [`to_json`] has them.
pub fn to_rows<R: Resource>(resources: &[R]) -> Result<Vec<Value>, Failure> {
    resources
        .iter()
        .map(|resource| to_json(R::NAME, resource))
        .collect()
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

    /// Whether columns are printed, which may have more in them than the API's fields.
    pub fn has_columns(&self) -> bool {
        matches!(self.format, Format::Table | Format::Csv)
    }

    /// Prints one resource: as a table of fields and values, or whole.
    pub fn one<R: Resource>(&self, resource: &R) -> Result<(), Failure> {
        self.message(R::NAME, resource)
    }

    /// Prints a message that is no resource, an answer for example, as [`one`](Self::one) does.
    pub fn message<M: Message>(&self, full_name: &str, message: &M) -> Result<(), Failure> {
        self.value(&to_json(full_name, message)?)
    }

    /// Prints one JSON value.
    pub fn value(&self, value: &Value) -> Result<(), Failure> {
        let fields = |reader| {
            let mut lines = Vec::new();
            describe("", value, reader, &mut lines);
            lines
                .into_iter()
                .map(|(name, text)| vec![name, text])
                .collect::<Vec<_>>()
        };
        match self.format {
            Format::Table => print_text(&aligned(&fields(Reader::person()))?),
            Format::Json => print_text(&json(value)?),
            Format::Yaml => print_text(&yaml(value)?),
            Format::Csv => {
                let mut rows = vec![vec!["field".to_owned(), "value".to_owned()]];
                rows.extend(fields(Reader::Program));
                print_text(&csv(&rows)?)
            }
            Format::Name => print_text(&format!("{}\n", called(value))),
        }
    }

    /// Prints many JSON values: as a table with these columns, or whole. `kind` is the message that they are, whose fields
    /// can be asked for as columns.
    pub fn rows(
        &self,
        mut rows: Vec<Value>,
        columns: &[Column],
        shape: &Shape,
        kind: Option<&str>,
    ) -> Result<(), Failure> {
        let kind = kind.and_then(descriptor);
        if let Some(by) = shape.sort_by(columns, kind.as_ref())? {
            by.sort(&mut rows);
        }
        rows.truncate(shape.limit());
        match self.format {
            Format::Table => print_text(&aligned(&shape.table(
                &rows,
                columns,
                kind.as_ref(),
                Reader::person(),
            )?)?),
            Format::Csv => print_text(&csv(&shape.table(
                &rows,
                columns,
                kind.as_ref(),
                Reader::Program,
            )?)?),
            _ if shape.chooses() => Err(Failure::Local(
                "--columns and --no-headers are for `-o table` and `-o csv`".into(),
            )),
            Format::Json => print_text(&json(&Value::Array(rows))?),
            Format::Yaml => print_text(&yaml(&Value::Array(rows))?),
            Format::Name => {
                let names: Vec<String> = rows.iter().map(|row| called(row) + "\n").collect();
                print_text(&names.concat())
            }
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

/// What something is called on the command line: its name, else its id, else its own part's.
fn called(value: &Value) -> String {
    let text = |field: &str| value[field].as_str().filter(|text| !text.is_empty());
    let own = text("name")
        .or_else(|| text("id"))
        .or_else(|| text("access_key_id"));
    match (own, value) {
        (Some(own), _) => own.replace(is_hidden, " "),
        (None, Value::Object(fields)) => fields
            .values()
            .find(|field| field.is_object())
            .map(called)
            .unwrap_or_default(),
        (None, other) => cell("", other, Reader::Program),
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

fn csv(rows: &[Vec<String>]) -> Result<String, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Local(format!("cannot print: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).map_err(|error| wrong(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| wrong(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// All that goes to standard output goes through here: `println!` would panic when the reader of a pipe has gone.
fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::print)
}

/// Says something to whoever gave the command, beside the answer. As `eprintln!`, but for its panic when nobody hears it.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::output::told(format_args!($($text)*))
    };
}
pub(crate) use tell;

/// What [`tell`] does.
pub fn told(text: std::fmt::Arguments<'_>) {
    // Nobody is left to tell that it failed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn aligned(rows: &[Vec<String>]) -> Result<String, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Local(format!("cannot print: {error}"));
    let mut writer = TabWriter::new(Vec::new()).padding(2);
    for row in rows {
        // A tenant chose some of these texts: none that is hidden, or an order to it, reaches the terminal.
        let clean: Vec<String> = row
            .iter()
            .map(|text| text.replace(is_hidden, " "))
            .collect();
        writeln!(writer, "{}", clean.join("\t").trim_end()).map_err(|error| wrong(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| wrong(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use photon_api::plasmavmc::v1::{Vm, VmPhase};
    use serde_json::json;

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
        let shown = |path| cell(path, super::cell::lookup(&json, path), Reader::Program);
        assert_eq!(shown("phase"), "running");
        assert_eq!(shown("spec.vcpus"), "-");
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
        let labels = cell("labels", &json["labels"], Reader::person());
        assert_eq!(labels, "a=1,b=1,c=1,m=1,y=1,z=1");
        let first = json.as_object().unwrap().keys().next().unwrap();
        assert_eq!(first, "id");
    }

    #[test]
    fn yaml_reads_back() {
        let text = yaml(&json!({"a": [1, "x: y"]})).unwrap();
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, json!({"a": [1, "x: y"]}));
    }

    #[test]
    fn csv_quotes_what_would_break_a_row() {
        let rows = [vec!["a,b".to_owned(), "c\"d".to_owned()]];
        assert_eq!(csv(&rows).unwrap(), "\"a,b\",\"c\"\"d\"\n");
    }

    #[test]
    fn things_are_called_by_their_names_else_their_ids() {
        assert_eq!(called(&json!({"id": "1", "name": "web"})), "web");
        assert_eq!(called(&json!({"id": "1", "name": ""})), "1");
        assert_eq!(called(&json!({"api_key": {"id": "7"}, "secret": "s"})), "7");
    }
}
