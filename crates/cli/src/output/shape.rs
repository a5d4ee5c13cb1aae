//! How a list is printed: which columns, in what order, how many.

use std::cmp::Ordering;

use clap::Args;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;

use super::Column;
use super::cell::{Reader, cell, local, lookup, time};
use crate::error::Failure;

/// How a list is printed.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "List")]
pub struct Shape {
    /// Only these columns, by their heads (`name,age`) or the fields of `-o json` (`spec.vcpus`).
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    columns: Vec<String>,
    /// Sort by this column or field; with '-' before it, the other way round.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort_by: Option<String>,
    /// No line with the columns' heads.
    #[arg(long)]
    no_headers: bool,
    /// At most so many.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// What a list is sorted by.
pub struct By {
    path: String,
    reversed: bool,
}

impl By {
    /// Sorts the rows; equal ones stay in their order.
    pub fn sort(&self, rows: &mut [Value]) {
        rows.sort_by(|a, b| {
            let order = compare(lookup(a, &self.path), lookup(b, &self.path));
            match self.reversed {
                true => order.reverse(),
                false => order,
            }
        });
    }
}

impl Shape {
    /// The most rows.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    /// How many rows must be read, where the first ones are enough.
    pub fn enough(&self) -> usize {
        match self.sort_by {
            Some(_) => usize::MAX,
            None => self.limit(),
        }
    }

    /// Whether it says which columns.
    pub fn chooses(&self) -> bool {
        !self.columns.is_empty() || self.no_headers
    }

    /// What to sort by.
    pub fn sort_by(
        &self,
        columns: &[Column],
        kind: Option<&MessageDescriptor>,
    ) -> Result<Option<By>, Failure> {
        let Some(by) = &self.sort_by else {
            return Ok(None);
        };
        let (name, reversed) = match by.strip_prefix('-') {
            Some(name) => (name, true),
            None => (by.as_str(), false),
        };
        let (_, path) = find("--sort-by", name, columns, kind)?;
        Ok(Some(By { path, reversed }))
    }

    /// Heads and cells.
    pub fn table(
        &self,
        rows: &[Value],
        columns: &[Column],
        kind: Option<&MessageDescriptor>,
        reader: Reader,
    ) -> Result<Vec<Vec<String>>, Failure> {
        let columns: Vec<(String, String)> = match self.columns.is_empty() {
            true => columns
                .iter()
                .map(|(head, path)| ((*head).to_owned(), (*path).to_owned()))
                .collect(),
            false => self
                .columns
                .iter()
                .map(|name| find("--columns", name, columns, kind))
                .collect::<Result<_, _>>()?,
        };
        let mut table = Vec::with_capacity(rows.len() + 1);
        if !self.no_headers {
            table.push(columns.iter().map(|(head, _)| head.clone()).collect());
        }
        for row in rows {
            let cells = columns
                .iter()
                .map(|(head, path)| in_column(head, path, lookup(row, path), reader));
            table.push(cells.collect());
        }
        Ok(table)
    }
}

/// A column that is called TIME has the time itself, not its age.
fn in_column(head: &str, path: &str, value: &Value, reader: Reader) -> String {
    match (reader, value.as_str().and_then(time)) {
        (Reader::Person(_), Some(time)) if head == "TIME" => local(time),
        _ => cell(path, value, reader),
    }
}

/// The column of this head, or the field of this path.
fn find(
    flag: &str,
    name: &str,
    columns: &[Column],
    kind: Option<&MessageDescriptor>,
) -> Result<(String, String), Failure> {
    let plain = |text: &str| text.to_lowercase().replace(['_', ' '], "-");
    let named = columns.iter().find(|(head, _)| plain(head) == plain(name));
    if let Some((head, path)) = named {
        return Ok(((*head).to_owned(), (*path).to_owned()));
    }
    if kind.is_some_and(|kind| has_path(kind, name)) {
        return Ok((name.to_uppercase(), name.to_owned()));
    }
    let heads: Vec<String> = columns.iter().map(|(head, _)| plain(head)).collect();
    Err(Failure::Local(format!(
        "{flag} '{name}' is no column here: expected one of {}, or a field of `-o json`",
        heads.join(", ")
    )))
}

fn has_path(kind: &MessageDescriptor, path: &str) -> bool {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    match (kind.get_field_by_name(first), rest) {
        (None, _) => false,
        (Some(_), None) => true,
        // The keys of a map are its owner's to choose.
        (Some(field), Some(_)) if field.is_map() => true,
        (Some(field), Some(rest)) => match field.kind() {
            Kind::Message(below) => has_path(&below, rest),
            _ => false,
        },
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let number = |it: &serde_json::Number| it.as_f64().unwrap_or_default();
            number(a).total_cmp(&number(b))
        }
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => match (time(a), time(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.cmp(b),
        },
        // What is not there comes first.
        (a, b) => (!a.is_null()).cmp(&!b.is_null()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::descriptor;
    use super::*;

    const COLUMNS: &[Column] = &[
        ("NAME", "name"),
        ("VCPUS", "spec.vcpus"),
        ("AGE", "created_at"),
    ];

    fn rows() -> Vec<Value> {
        vec![
            json!({"name": "b", "spec": {"vcpus": 2}, "created_at": "2026-11-26T10:00:00.5Z"}),
            json!({"name": "a", "spec": {"vcpus": 16}, "created_at": "2026-11-26T10:00:00Z"}),
            json!({"name": "c", "spec": {"vcpus": 1}}),
        ]
    }

    fn names(shape: &Shape) -> String {
        let mut rows = rows();
        if let Some(by) = shape.sort_by(COLUMNS, None).unwrap() {
            by.sort(&mut rows);
        }
        rows.truncate(shape.limit());
        rows.iter()
            .map(|row| row["name"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn rows_are_sorted_as_what_they_are_and_cut() {
        let by = |name: &str| Shape {
            sort_by: Some(name.into()),
            ..Shape::default()
        };
        assert_eq!(names(&Shape::default()), "bac");
        assert_eq!(names(&by("name")), "abc");
        assert_eq!(names(&by("vcpus")), "cba");
        assert_eq!(names(&by("-vcpus")), "abc");
        assert_eq!(names(&by("age")), "cab");
        let first = Shape {
            limit: Some(1),
            ..by("-name")
        };
        assert_eq!(names(&first), "c");
        assert_eq!(first.enough(), usize::MAX);
        assert!(by("size").sort_by(COLUMNS, None).is_err());
    }

    #[test]
    fn columns_are_chosen_by_head_or_field() {
        let shape = Shape {
            columns: vec!["vcpus".into(), "spec.hostname".into(), "labels.tier".into()],
            no_headers: true,
            ..Shape::default()
        };
        let kind = descriptor("plasmavmc.v1.Vm");
        let row = json!({"spec": {"vcpus": 2, "hostname": "web"}, "labels": {"tier": "db"}});
        let table = shape.table(&[row], COLUMNS, kind.as_ref(), Reader::Program);
        assert_eq!(table.unwrap(), [["2", "web", "db"]]);
        let wrong = Shape {
            columns: vec!["spec.colour".into()],
            ..Shape::default()
        };
        let refused = wrong.table(&[], COLUMNS, kind.as_ref(), Reader::Program);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("name, vcpus, age"), "{said}");
    }
}
