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
pub mod subnet;
pub mod vm;
pub mod vpc;

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;

use crate::error::Failure;

/// All items of a paged list: calls `$list` with each page token until there is no further page.
macro_rules! all_pages {
    ($client:expr, $method:ident, $items:ident, $request:expr) => {{
        let mut items = Vec::new();
        let mut request = $request;
        loop {
            let page = $client.$method(request.clone()).await?.into_inner();
            items.extend(page.$items);
            if page.next_page_token.is_empty() {
                break items;
            }
            request.page_token = page.next_page_token;
        }
    }};
}
pub(crate) use all_pages;

/// The field of an answer that a correct server always fills.
fn present<T>(field: Option<T>, what: &str) -> Result<T, Failure> {
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

fn label_map(labels: &[(String, String)]) -> BTreeMap<String, String> {
    labels.iter().cloned().collect()
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
fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
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
