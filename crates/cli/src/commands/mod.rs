//! One module per noun.

pub mod api_key;
pub mod audit;
pub mod binding;
mod cascade;
pub mod context;
pub mod dns;
pub mod external_network;
pub mod floating_ip;
pub mod host;
pub mod image;
pub mod login;
pub mod machine;
pub mod nat_gateway;
pub mod network;
pub mod node;
pub mod org;
pub mod peering;
pub mod port;
pub mod principal;
pub mod project;
pub mod quota;
pub mod role;
pub mod route;
pub mod security_group;
pub mod session;
pub mod size;
pub mod ssh;
pub mod ssh_key;
pub mod subnet;
pub mod vm;
pub mod vpc;

use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;

use clap::Args;
use photon_client::Component;

use crate::error::Failure;
use crate::noun::Desk;
use crate::output::tell;

/// What one service answers that each has for itself. A service of which nobody has told where it is may be absent: not every
/// cloud has all. Then that is said, for a chain that was not read is not one that is whole, unless the service was `named` by
/// whoever asks. IAM is asked before, and there is always one.
async fn asked<T>(
    desk: &Desk<'_>,
    service: &Component,
    named: bool,
    what: &str,
    asking: impl Future<Output = Result<T, photon_client::Error>>,
) -> Result<Option<T>, Failure> {
    let told = desk.session.context.knows(service.name);
    match asking.await {
        Ok(answer) => Ok(Some(answer)),
        Err(photon_client::Error::Unreachable { endpoint, .. }) if !told && !named => {
            tell!(
                "note: no {what} of {}: none answers at {endpoint}. If this cloud has one, say where: --{} URL.",
                service.title,
                service.endpoint_flag
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

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
    /// Take all labels away.
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
}

impl OtherLabels {
    /// As a request has them; nothing: those that there are stay.
    fn map<M: FromIterator<(String, String)>>(self) -> Option<M> {
        replaced(self.labels, self.no_labels).map(|labels| labels.into_iter().collect())
    }
}

/// What takes the place of a list: nothing if none was given, an empty list if it is to be emptied.
fn replaced<T>(given: Vec<T>, emptied: bool) -> Option<Vec<T>> {
    (emptied || !given.is_empty()).then_some(given)
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
    String::from_utf8(read_bytes(path)?)
        .map_err(|_| Failure::file("read", path, "it is no text (UTF-8)"))
}

/// User data as a request has them: as text, or as bytes where they are none (compressed ones).
#[derive(Default)]
struct UserData {
    text: Option<String>,
    binary: Option<Vec<u8>>,
}

/// User data from a file (`-`: standard input).
fn read_user_data(path: Option<&Path>) -> Result<UserData, Failure> {
    let Some(path) = path else {
        return Ok(UserData::default());
    };
    Ok(match String::from_utf8(read_bytes(path)?) {
        Ok(text) => UserData {
            text: Some(text),
            binary: None,
        },
        Err(other) => UserData {
            text: None,
            binary: Some(other.into_bytes()),
        },
    })
}

/// All of a file (`-`: standard input).
fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::Local(format!("cannot read standard input: {error}")))?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(|error| Failure::file("read", path, error))
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
    match agrees(&answer) {
        true => Ok(()),
        false => Err(Failure::Declined),
    }
}

fn agrees(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        assert!(agrees("y\n") && agrees("Yes\n"));
        for no in ["n\n", "\n", "", "yellow\n"] {
            assert!(!agrees(no), "{no:?}");
        }
    }

    #[test]
    fn a_list_stays_is_replaced_or_emptied() {
        assert_eq!(replaced(Vec::<u8>::new(), false), None);
        assert_eq!(replaced(vec![1], false), Some(vec![1]));
        assert_eq!(replaced(Vec::<u8>::new(), true), Some(Vec::new()));
    }
}
