//! One module per noun.

pub mod api_key;
pub mod audit;
pub mod binding;
pub mod context;
pub mod host;
pub mod image;
pub mod login;
pub mod machine;
pub mod node;
pub mod org;
pub mod port;
pub mod principal;
pub mod project;
pub mod role;
pub mod security_group;
pub mod session;
pub mod size;
pub mod subnet;
pub mod vm;
pub mod vpc;

use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;

use clap::Args;

use crate::error::Failure;

/// The field of an answer that a correct server always fills.
pub fn present<T>(field: Option<T>, what: &str) -> Result<T, Failure> {
    field.ok_or_else(|| {
        Failure::Local(format!(
            "the server's answer lacks the {what}: is it an older version?"
        ))
    })
}

/// `KEY=VALUE` of a `--label` flag.
fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as tier=web".to_owned()),
    }
}

/// Labels of something new.
#[derive(Args)]
pub struct NewLabels {
    /// KEY=VALUE; can be repeated.
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
}

impl NewLabels {
    /// As a request has them.
    fn map<M: FromIterator<(String, String)>>(self) -> M {
        self.labels.into_iter().collect()
    }
}

/// What can be changed of all that has a name.
#[derive(Args)]
pub struct Renaming {
    /// New name.
    #[arg(long)]
    rename: Option<String>,
    /// New description.
    #[arg(long)]
    description: Option<String>,
}

/// Labels to choose by.
#[derive(Args)]
pub struct ChosenLabels {
    /// Only with this label; can be repeated.
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
}

impl ChosenLabels {
    /// As a request has them.
    fn map<M: FromIterator<(String, String)>>(self) -> M {
        self.labels.into_iter().collect()
    }
}

/// Labels in the place of those that there are.
#[derive(Args)]
pub struct OtherLabels {
    /// KEY=VALUE; replaces all labels; can be repeated.
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
}

impl OtherLabels {
    /// As a request has them; nothing: those that there are stay.
    fn map<M: FromIterator<(String, String)>>(self) -> Option<M> {
        (!self.labels.is_empty()).then(|| self.labels.into_iter().collect())
    }
}

/// A secret from a file (`-`: standard input), or asked for on the terminal without showing it. Only the
/// first line counts.
fn read_secret(file: Option<&Path>, prompt: &str) -> Result<String, Failure> {
    let secret = match file {
        Some(path) if path == Path::new("-") => {
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .map_err(|error| {
                    Failure::Local(format!(
                        "cannot read the secret from standard input: {error}"
                    ))
                })?;
            line
        }
        Some(path) => {
            std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, error))?
        }
        None if std::io::stdin().is_terminal() => rpassword::prompt_password(prompt)
            .map_err(|error| Failure::Local(format!("cannot read from the terminal: {error}")))?,
        None => {
            return Err(Failure::Local(
                "there is no terminal to ask for the secret on: give it by a file (`--password-file FILE`, \
                 `--api-key-file FILE`; `-` is standard input)"
                    .into(),
            ));
        }
    };
    let first = secret.lines().next().unwrap_or_default().to_owned();
    if first.is_empty() {
        return Err(Failure::Local("the secret is empty".into()));
    }
    Ok(first)
}

/// The whole text of a file (`-`: standard input).
fn read_text(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::Local(format!("cannot read standard input: {error}")))?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, error))
}

/// Asks before something that cannot be undone; `--yes` answers for scripts.
pub fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Local(format!(
            "{question} Say --yes, since there is no terminal to ask on."
        )));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::Local(format!("cannot read from the terminal: {error}")))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::Local("nothing was changed".into())),
    }
}
