//! Logging: to journald with fields when systemd runs the program, else readable lines on stderr.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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
                let _ = registry.with(layer).try_init();
                return;
            }
            Err(error) => eprintln!("journald can't be reached ({error}): logging to stderr"),
        }
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let _ = registry.with(layer).try_init();
}
