//! What docs/operations says of its commands is true: each is run by a test, parsed, or not run, for a reason.
//! Those that are run are run on the rack (`tests/rack/operations.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use rnix::Root;
use rnix::ast::AttrpathValue;
use rowan::ast::AstNode;
use xtask::documents::{Block, Fate, blocks};
use xtask::photoncloud::tree;

fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.extension().is_some_and(|extension| extension == end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// All blocks of docs/operations, with the place where each is.
fn operations() -> Vec<(String, Block)> {
    let documents = files(&tree().join("docs/operations"), "md");
    assert!(documents.len() >= 7, "{documents:?}");
    let mut all = Vec::new();
    for document in documents {
        let name = document.file_name().unwrap().to_str().unwrap().to_owned();
        for block in blocks(&document).unwrap() {
            all.push((format!("{name}:{}", block.line), block));
        }
    }
    all
}

#[test]
fn every_block_is_accounted_for() {
    let mut not_run = Vec::new();
    for (place, block) in operations() {
        let language = block.language.as_str();
        match &block.fate {
            Fate::Run => assert_eq!(language, "sh", "{place}"),
            Fate::Parsed => assert_eq!(language, "nix", "{place}"),
            Fate::Tested(file, name) => {
                let path = tree().join("crates").join(file);
                let text = fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{place}: {}: {error}", path.display()));
                assert!(
                    text.contains(&format!("fn {name}(")),
                    "{place}: {file} has no test {name}"
                );
            }
            Fate::NotRun(reason) => not_run.push(format!("{place}: {reason}\n{}", block.text)),
            Fate::Unsaid => panic!(
                "{place}: nothing says what becomes of this block; write what crates/xtask/src/documents.rs knows \
                 before it"
            ),
        }
    }
    println!("{} blocks of docs/operations are not run:\n", not_run.len());
    for block in not_run {
        println!("{block}");
    }
}

/// The names below `photoncloud` that a snippet sets, each with its whole path.
fn options(text: &str) -> Vec<(String, Vec<String>)> {
    let parsed = Root::parse(text);
    assert!(parsed.errors().is_empty(), "{:?}\n{text}", parsed.errors());
    let mut found = Vec::new();
    for value in parsed
        .syntax()
        .descendants()
        .filter_map(AttrpathValue::cast)
    {
        let mut path: Vec<String> = Vec::new();
        let above = value.syntax().ancestors().filter_map(AttrpathValue::cast);
        for attribute in above {
            let own = attribute.attrpath().unwrap();
            let own: Vec<String> = own.attrs().map(|attr| attr.to_string()).collect();
            path.splice(0..0, own);
        }
        found.push((path.join("."), path));
    }
    found
}

#[test]
fn nix_is_formatted_and_sets_options_that_there_are() {
    let modules: String = files(&tree().join("modules"), "nix")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let known = |name: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '\'';
        modules.split(|c| !is_part(c)).any(|word| word == name)
    };
    let mut seen = 0;
    for (place, block) in operations() {
        if block.language != "nix" {
            continue;
        }
        assert_eq!(
            nixfmt_rs::format(&block.text).unwrap(),
            block.text,
            "{place}: as nixfmt would write it"
        );
        if block.fate != Fate::Parsed {
            continue;
        }
        for (option, path) in options(&block.text) {
            assert_eq!(path[0], "photoncloud", "{place}: {option}");
            // Below `nodes` stands a host's name, which is the operator's to choose.
            let host = path
                .iter()
                .position(|name| name == "nodes")
                .map(|at| at + 1);
            for (number, name) in path.iter().enumerate() {
                assert!(
                    Some(number) == host || known(name),
                    "{place}: no module has the option {option}: `{name}`"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} options were found in the snippets");
}

#[test]
fn the_page_of_options_tells_of_none_that_is_gone() {
    let page = fs::read_to_string(tree().join("docs/operations/options.md")).unwrap();
    let table = fs::read_to_string(tree().join("crates/api/components.toml")).unwrap();
    let modules: Vec<String> = files(&tree().join("modules"), "nix")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .chain([table])
        .collect();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let known: std::collections::BTreeSet<&str> = modules
        .iter()
        .flat_map(|text| text.split(|c| !is_part(c)))
        .collect();
    let mut seen = 0;
    for option in page.lines().filter_map(|line| line.strip_prefix("### ")) {
        // `<name>` is the operator's to choose.
        for part in option.split('.').filter(|part| !part.contains(['<', '*'])) {
            assert!(
                known.contains(part),
                "{option}: no module has `{part}`: run tests/golden/refresh"
            );
        }
        seen += 1;
    }
    assert!(seen > 100, "only {seen} options were found");
}

/// As the forges make an anchor of a heading: lower case, spaces to dashes, punctuation dropped.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    for document in files(&tree().join("docs"), "md") {
        let text = fs::read_to_string(&document).unwrap();
        // Between backquotes are patterns and commands, and no links.
        let prose: String = text.split('`').step_by(2).collect();
        for link in prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", document.display());
            if !heading.is_empty() {
                let there = fs::read_to_string(&target).unwrap();
                let headings = there.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.map(anchor).any(|anchor| anchor == heading),
                    "{}: {link}: no such heading",
                    document.display()
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} links were found");
}

#[test]
fn a_missing_option_would_be_noticed() {
    let (option, path) = &options("{ photoncloud.cluster.nodes.n1.adress = 1; }")[0];
    assert_eq!(option, "photoncloud.cluster.nodes.n1.adress");
    assert_eq!(path.len(), 5);
    assert_eq!(
        anchor("## The API does not answer"),
        "the-api-does-not-answer"
    );
}
