//! Logging: to journald with fields when systemd runs the program, else readable lines on stderr.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber, Value};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt as lines};

/// Sets the process's logging up. `RUST_LOG` chooses what is logged (default: `info`). A second call, as in
/// tests with several servers, changes nothing.
pub(crate) fn init(name: &'static str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    // systemd.exec(5): set when stdout or stderr is a stream to the journal. That alone does not mean that
    // journald can be reached, so the layer may still fail.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        match tracing_journald::layer() {
            Ok(layer) => {
                let layer = layer
                    .with_syslog_identifier(name.to_owned())
                    .with_field_prefix(Some("PHOTON".to_owned()));
                let _ = registry.with(Readable(layer)).try_init();
                return;
            }
            Err(error) => eprintln!("journald can't be reached ({error}): logging to stderr"),
        }
    }
    let layer = lines::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let _ = registry.with(layer).try_init();
}

/// Hands events on to a layer with their fields in the message, too: `journalctl` shows the message alone, and one
/// such as "pass failed" without its error is of no use to whoever reads it.
struct Readable<L>(L);

impl<S, L> Layer<S> for Readable<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let fields = event.metadata().fields();
        let mut texts = Texts(vec![None; fields.len()]);
        event.record(&mut texts);
        let message = fields.field("message").map(|field| field.index());
        if let Some(at) = message {
            let message = texts.0[at].take().unwrap_or_default();
            texts.0[at] = Some(with_fields(message, fields, &texts.0));
        }
        let values: Vec<Option<&dyn Value>> = texts
            .0
            .iter()
            .map(|text| text.as_ref().map(|text| text as &dyn Value))
            .collect();
        let values = fields.value_set_all(&values);
        self.0
            .on_event(&Event::new(event.metadata(), &values), context);
    }
}

fn with_fields(
    mut message: String,
    fields: &tracing::field::FieldSet,
    texts: &[Option<String>],
) -> String {
    let mut separator = ": ";
    for (field, text) in fields.iter().zip(texts) {
        if let Some(text) = text {
            // Writing to a String can't fail.
            let _ = write!(message, "{separator}{}={text}", field.name());
            separator = " ";
        }
    }
    message
}

/// The values of an event's fields as text, by the fields' places.
struct Texts(Vec<Option<String>>);

impl Visit for Texts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0[field.index()] = Some(format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0[field.index()] = Some(value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0[field.index()] = Some(value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps the fields of every event.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let fields = event.metadata().fields();
            let mut texts = Texts(vec![None; fields.len()]);
            event.record(&mut texts);
            let line = fields
                .iter()
                .zip(texts.0)
                .map(|(field, text)| format!("{}={}", field.name(), text.unwrap_or_default()))
                .collect::<Vec<_>>()
                .join("|");
            self.0.lock().unwrap().push(line);
        }
    }

    #[test]
    fn what_an_event_says_is_in_its_message_and_its_fields() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::registry().with(Readable(kept.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(count = 3, name = "web", error = %"no disk", "pass {}", "failed");
            tracing::info!("plain");
            tracing::info!(count = 4);
        });
        assert_eq!(
            *kept.0.lock().unwrap(),
            [
                "message=pass failed: count=3 name=web error=no disk|count=3|name=web|error=no disk",
                "message=plain",
                "count=4",
            ]
        );
    }
}
