//! The lines of the protocol.

use serde_json::{Value, json};

use crate::hypervisor::GuestEvent;

/// Longest line that is accepted, in bytes. QEMU's longest answer to what we ask has a few hundred.
pub const LINE_LIMIT: usize = 256 * 1024;

/// One line from QEMU.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// First line of a connection.
    Greeting,
    /// A command succeeded.
    Return { id: Option<u64>, value: Value },
    /// A command failed.
    Error { id: Option<u64>, reason: String },
    /// Something happened that an agent cares for.
    Event(GuestEvent),
    /// Anything else.
    Other,
}

/// What QEMU must not send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a line of more than {LINE_LIMIT} bytes")]
    TooLong,
    #[error("a line that is no JSON object: {0}")]
    NotJson(String),
}

/// Cuts a stream of bytes into messages. Holds at most [`LINE_LIMIT`] bytes beside what it was just given.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
}

impl Decoder {
    /// Takes what was read and gives the messages that it completes.
    ///
    /// Errors: `Malformed`; the stream is of no use after that.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Message>, Malformed> {
        let mut messages = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end])?;
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            if !line.trim_ascii().is_empty() {
                messages.push(parse(&line)?);
            }
        }
        self.take(bytes)?;
        Ok(messages)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.line.len() + bytes.len() > LINE_LIMIT {
            return Err(Malformed::TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

fn parse(line: &[u8]) -> Result<Message, Malformed> {
    let mut value: Value =
        serde_json::from_slice(line).map_err(|error| Malformed::NotJson(error.to_string()))?;
    let Some(object) = value.as_object_mut() else {
        return Err(Malformed::NotJson("another JSON value".to_owned()));
    };
    let id = object.get("id").and_then(Value::as_u64);
    if let Some(value) = object.remove("return") {
        return Ok(Message::Return { id, value });
    }
    if let Some(error) = object.get("error") {
        let reason = error.get("desc").and_then(Value::as_str);
        return Ok(Message::Error {
            id,
            reason: reason.unwrap_or("no reason given").to_owned(),
        });
    }
    if object.contains_key("QMP") {
        return Ok(Message::Greeting);
    }
    let event = object.get("event").and_then(Value::as_str);
    let by_guest = object
        .get("data")
        .and_then(|data| data.get("guest"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    // The names are those of QEMU's qapi/run-state.json.
    Ok(match event {
        Some("SHUTDOWN") => Message::Event(GuestEvent::Shutdown { by_guest }),
        Some("RESET") => Message::Event(GuestEvent::Reset { by_guest }),
        Some("STOP") => Message::Event(GuestEvent::Stopped),
        Some("RESUME") => Message::Event(GuestEvent::Resumed),
        Some("GUEST_PANICKED") => Message::Event(GuestEvent::Panicked),
        _ => Message::Other,
    })
}

/// A command as a line. `arguments` is an object, or nothing.
pub fn command(id: u64, name: &str, arguments: &Value) -> Vec<u8> {
    let command = match arguments {
        Value::Null => json!({ "execute": name, "id": id }),
        arguments => json!({ "execute": name, "arguments": arguments, "id": id }),
    };
    let mut line = command.to_string().into_bytes();
    line.push(b'\n');
    line
}
