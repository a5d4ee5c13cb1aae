//! The code blocks of a document, and what becomes of each: run by a test, parsed, or not run, for a reason.
//!
//! A comment in the line before a block says so:
//!
//! ```text
//! <!-- run -->                                        on a host of the control plane, as root
//! <!-- tested: xtask/tests/rack/netboot.rs: name -->  what it shows is done by that test, in a file below crates
//! <!-- not run: because … -->
//! ```

use std::path::Path;

use anyhow::{Context, Result, bail};

/// What becomes of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Run by the rack test of documents.
    Run,
    /// Another test does it: its file, and its name.
    Tested(String, String),
    /// Nix, which is parsed.
    Parsed,
    /// Not run, and why.
    NotRun(String),
    /// The document says nothing of it.
    Unsaid,
}

/// A fenced block of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Line of the document where its text begins, from 1.
    pub line: usize,
    /// What follows the fence: `sh`, `nix`.
    pub language: String,
    pub text: String,
    pub fate: Fate,
}

/// The blocks of a document, in their order.
///
/// # Errors
/// When the document cannot be read, a fence is not closed, or a comment says what cannot be understood.
pub fn blocks(path: &Path) -> Result<Vec<Block>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut fate = Fate::Unsaid;
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim_start();
        let Some((indent, mut block)) = open.take() else {
            let Some(language) = trimmed.strip_prefix("```") else {
                fate = said_by(trimmed).with_context(|| format!("line {number}"))?;
                continue;
            };
            let said = std::mem::replace(&mut fate, Fate::Unsaid);
            let block = Block {
                line: number + 1,
                language: language.to_owned(),
                text: String::new(),
                fate: match said {
                    Fate::Unsaid if language == "nix" => Fate::Parsed,
                    said => said,
                },
            };
            // In a list a block is indented, and so is its text.
            open = Some((line.len() - trimmed.len(), block));
            continue;
        };
        if trimmed == "```" {
            blocks.push(block);
        } else {
            block.text.push_str(line.get(indent..).unwrap_or(trimmed));
            block.text.push('\n');
            open = Some((indent, block));
        }
    }
    match open {
        Some((_, block)) => bail!("the block at line {} is not closed", block.line),
        None => Ok(blocks),
    }
}

/// What a line says of the block after it.
fn said_by(line: &str) -> Result<Fate> {
    let comment = line
        .strip_prefix("<!-- ")
        .and_then(|rest| rest.strip_suffix(" -->"));
    let comment = match comment {
        None => return Ok(Fate::Unsaid),
        Some("run") => return Ok(Fate::Run),
        Some(comment) => comment,
    };
    let Some((word, rest)) = comment.split_once(": ") else {
        return Ok(Fate::Unsaid);
    };
    match (word, rest) {
        ("tested", test) => {
            let (file, name) = test
                .split_once(": ")
                .with_context(|| format!("`{test}` names no test as `file.rs: name`"))?;
            Ok(Fate::Tested(file.to_owned(), name.to_owned()))
        }
        ("not run", reason) => Ok(Fate::NotRun(reason.to_owned())),
        _ => bail!("`{word}: {rest}` is none of: run, tested: …, not run: …"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_the_fate_that_stands_before_it() {
        let text = "# A\n\n<!-- run -->\n```sh\ntrue\nfalse\n```\n\ntext\n```sh\nls\n```\n\
                    <!-- tested: a/upgrade.rs: it_works -->\n```sh\nx\n```\n1. list\n   ```nix\n   {\n     a = 1;\n   }\n   ```\n\
                    <!-- not run: it wipes a disk: yours -->\n```sh\ny\n```\n";
        let blocks = parse(text).unwrap();
        let fates: Vec<&Fate> = blocks.iter().map(|block| &block.fate).collect();
        assert_eq!(
            fates,
            [
                &Fate::Run,
                &Fate::Unsaid,
                &Fate::Tested("a/upgrade.rs".into(), "it_works".into()),
                &Fate::Parsed,
                &Fate::NotRun("it wipes a disk: yours".into()),
            ]
        );
        assert_eq!(blocks[0].text, "true\nfalse\n");
        assert_eq!(blocks[0].line, 5);
        assert_eq!(blocks[3].text, "{\n  a = 1;\n}\n");
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        assert!(parse("```sh\nls\n").is_err());
        assert!(parse("<!-- run: nowhere -->\n").is_err());
        assert!(parse("<!-- tested: upgrade.rs -->\n").is_err());
        // Any other comment is none of ours.
        assert_eq!(parse("<!-- a word -->\n").unwrap(), []);
    }
}
