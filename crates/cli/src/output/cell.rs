//! One value as text.

use std::collections::HashMap;
use std::sync::OnceLock;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::pool;

/// Who reads a text.
#[derive(Clone, Copy, Debug)]
pub enum Reader {
    /// People, at this moment: ages, sizes with units.
    Person(Timestamp),
    /// Programs: times and sizes as the API has them.
    Program,
}

impl Reader {
    /// People, now.
    pub fn person() -> Self {
        Self::Person(Timestamp::now())
    }
}

/// What fills a path (dots descend; of a list, the first).
pub fn lookup<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, part| match value {
        Value::Array(items) => items.first().map_or(&Value::Null, |item| &item[part]),
        other => &other[part],
    })
}

/// The API's names of values as tables have them, by their names: `VM_PHASE_RUNNING` reads running. What is not
/// specified reads as nothing.
fn values() -> &'static HashMap<String, String> {
    static VALUES: OnceLock<HashMap<String, String>> = OnceLock::new();
    VALUES.get_or_init(|| {
        let mut values = HashMap::new();
        for of in pool().all_enums() {
            for value in of.values() {
                let prefix = screaming(of.name());
                if let Some(short) = value.name().strip_prefix(&prefix) {
                    let short = short
                        .trim_start_matches('_')
                        .to_lowercase()
                        .replace('_', "-");
                    let short = match short.as_str() {
                        "unspecified" => "-".to_owned(),
                        _ => short,
                    };
                    values.insert(value.name().to_owned(), short);
                }
            }
        }
        values
    })
}

/// `VmPhase` as `VM_PHASE`, which the names of its values begin with.
fn screaming(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

/// The text, with the API's names of values as tables have them.
pub fn plain_values(text: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(part) {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let (word, after) = rest.split_at(rest.find(|c| !part(c)).unwrap_or(rest.len()));
        plain.push_str(values().get(word).map_or(word, String::as_str));
        rest = after;
    }
    plain + rest
}

/// The value at this path as a cell of a table.
pub fn cell(path: &str, value: &Value, reader: Reader) -> String {
    let list = |texts: Vec<String>| match texts.is_empty() {
        true => "-".to_owned(),
        false => texts.join(","),
    };
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => match (values().get(text), reader, time(text)) {
            (Some(short), ..) => short.clone(),
            (None, Reader::Person(now), Some(time)) => age(now, time),
            _ => text.clone(),
        },
        Value::Number(number) => match (reader, unit(path), number.as_u64()) {
            (Reader::Person(_), Some(unit), Some(number)) => size(number, unit),
            _ => number.to_string(),
        },
        Value::Array(items) => list(items.iter().map(|item| cell(path, item, reader)).collect()),
        Value::Object(fields) => list(
            fields
                .iter()
                .map(|(key, value)| format!("{key}={}", cell(path, value, reader)))
                .collect(),
        ),
        Value::Bool(is) => is.to_string(),
    }
}

/// All fields with their paths, as lines.
pub fn describe(prefix: &str, value: &Value, reader: Reader, lines: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else {
        lines.push((prefix.to_owned(), cell(prefix, value, reader)));
        return;
    };
    for (key, value) in fields {
        let name = match prefix.is_empty() {
            true => key.clone(),
            false => format!("{prefix}.{key}"),
        };
        match (value, reader) {
            (Value::Object(inner), _) if !inner.is_empty() => {
                describe(&name, value, reader, lines);
            }
            (Value::Array(items), _) if items.iter().any(Value::is_object) => {
                for (at, item) in items.iter().enumerate() {
                    describe(&format!("{name}[{at}]"), item, reader, lines);
                }
            }
            (Value::String(text), Reader::Person(now)) => {
                // There is room for the time beside its age.
                let shown = match time(text) {
                    Some(time) => format!("{} ({})", local(time), told(now, time)),
                    None => cell(&name, value, reader),
                };
                lines.push((name, shown));
            }
            _ => lines.push((name.clone(), cell(&name, value, reader))),
        }
    }
}

/// A time as the API writes it (RFC 3339, UTC).
pub fn time(text: &str) -> Option<Timestamp> {
    let may_be = text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z');
    may_be.then(|| text.parse().ok()).flatten()
}

/// A time as the clock on the wall has it, with its distance to UTC.
pub fn local(time: Timestamp) -> String {
    let zoned = time.to_zoned(TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// How long ago, or in how long: `3h`, `in 5m`.
fn age(now: Timestamp, time: Timestamp) -> String {
    let past = now.duration_since(time);
    match past.is_negative() {
        true => format!("in {}", length(past.abs())),
        false => length(past),
    }
}

fn told(now: Timestamp, time: Timestamp) -> String {
    let past = now.duration_since(time);
    match past.is_negative() {
        true => format!("in {}", length(past.abs())),
        false => format!("{} ago", length(past)),
    }
}

/// A length of time in its largest unit that says enough: two hours are 120m, two days 48h.
fn length(of: SignedDuration) -> String {
    match of.as_secs() {
        secs @ ..120 => format!("{secs}s"),
        secs @ ..7_200 => format!("{}m", secs / 60),
        secs @ ..172_800 => format!("{}h", secs / 3_600),
        secs => format!("{}d", secs / 86_400),
    }
}

/// Bytes of what a field counts, by its name's end.
fn unit(path: &str) -> Option<u64> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let last = last.trim_end_matches("_used").trim_end_matches("_overhead");
    if last.ends_with("_bytes") {
        Some(1)
    } else if last.ends_with("_mib") {
        Some(1 << 20)
    } else {
        None
    }
}

/// A size with the largest unit that it is at least one of: `512 MiB`, `1.5 GiB`.
fn size(number: u64, unit: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    let bytes = number.saturating_mul(unit);
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn people_read_ages_and_sizes_and_programs_what_the_api_has() {
        let now = at("2026-11-26T12:00:00Z");
        let person = Reader::Person(now);
        for (path, value, people, program) in [
            (
                "created_at",
                json!("2026-11-26T09:00:00Z"),
                "3h",
                "2026-11-26T09:00:00Z",
            ),
            (
                "expires_at",
                json!("2026-11-26T12:10:00Z"),
                "in 10m",
                "2026-11-26T12:10:00Z",
            ),
            ("spec.memory_mib", json!(2048), "2 GiB", "2048"),
            ("memory_mib_used", json!(512), "512 MiB", "512"),
            ("memory_mib_overhead", json!(232), "232 MiB", "232"),
            ("size_bytes", json!(1536), "1.5 KiB", "1536"),
            ("vcpus", json!(4), "4", "4"),
            ("phase", json!("VM_PHASE_RUNNING"), "running", "running"),
            ("device_type", json!("DEVICE_TYPE_UNSPECIFIED"), "-", "-"),
            ("description", json!(""), "-", "-"),
        ] {
            assert_eq!(cell(path, &value, person), people, "{path}");
            assert_eq!(cell(path, &value, Reader::Program), program, "{path}");
        }
    }

    #[test]
    fn one_thing_shows_the_time_with_its_age() {
        let mut lines = Vec::new();
        let reader = Reader::Person(at("2026-11-26T12:00:00Z"));
        let vm = json!({"created_at": "2026-11-26T11:59:00.123456Z", "labels": {}});
        describe("", &vm, reader, &mut lines);
        assert!(lines[0].1.ends_with("(59s ago)"), "{lines:?}");
        assert_eq!(lines[1], ("labels".to_owned(), "-".to_owned()));
    }

    #[test]
    fn a_length_is_said_in_one_unit() {
        for (seconds, said) in [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (7_200, "2h"),
            (200_000, "2d"),
        ] {
            assert_eq!(length(SignedDuration::from_secs(seconds)), said);
        }
    }

    #[test]
    fn the_values_of_every_enum_have_short_names() {
        for of in pool()
            .all_enums()
            .filter(|of| !of.full_name().starts_with("google."))
        {
            for value in of.values() {
                assert!(values().contains_key(value.name()), "{}", value.name());
            }
        }
    }
}
