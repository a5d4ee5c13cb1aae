//! What must hold for every `.nix` file, checked without Nix: it parses, `nix fmt` would leave it alone,
//! nothing in it is unused, options tell operators what they are for, and the scripts in it are such as Nix builds.
//!
//! With `PHOTON_REGENERATE=1` the files are formatted in place.

mod scripts;

use std::fs;
use std::path::{Path, PathBuf};

use rnix::ast::{Apply, AttrSet, Entry, Expr, HasEntry, With};
use rnix::{Root, SyntaxNode};
use rowan::ast::AstNode;
use xtask::photoncloud::tree;

fn nix_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = entry.file_name();
        // `result` is what `nix build` leaves: a link, not a folder of ours.
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                nix_files(&path, found);
            }
        } else if path.extension().is_some_and(|end| end == "nix") {
            found.push(path);
        }
    }
}

/// All files of the tree and what they hold, by their path below its root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    nix_files(&tree(), &mut files);
    assert!(
        files.iter().any(|path| path.ends_with("flake.nix")),
        "the flake was not found: {files:?}"
    );
    files
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

fn syntax(text: &str) -> Result<SyntaxNode, String> {
    let parsed = Root::parse(text);
    match parsed.errors().first() {
        Some(error) => Err(error.to_string()),
        None => Ok(parsed.syntax()),
    }
}

fn line(text: &str, node: &SyntaxNode) -> usize {
    let start = usize::from(node.text_range().start());
    text[..start].matches('\n').count() + 1
}

fn unused(text: &str) -> Result<Vec<String>, String> {
    let settings = deadnix::Settings::default();
    let dead = settings.find_dead_code(&syntax(text)?);
    Ok(dead
        .iter()
        .map(|dead| format!("line {}: {dead}", line(text, &dead.binding.decl_node)))
        .collect())
}

/// `with` hides where a name comes from, and from deadnix whether one is used.
fn withs(text: &str) -> Result<Vec<String>, String> {
    Ok(syntax(text)?
        .descendants()
        .filter_map(With::cast)
        .map(|with| {
            let first = with.syntax().text().to_string();
            let first = first.lines().next().unwrap_or_default().to_owned();
            format!("line {}: {first}", line(text, with.syntax()))
        })
        .collect())
}

fn attributes(set: &AttrSet) -> Vec<String> {
    let mut names = Vec::new();
    for entry in set.entries() {
        match entry {
            Entry::AttrpathValue(entry) => {
                names.extend(
                    entry
                        .attrpath()
                        .map(|path| path.syntax().text().to_string()),
                );
            }
            Entry::Inherit(inherit) => {
                names.extend(inherit.attrs().map(|name| name.syntax().text().to_string()));
            }
        }
    }
    names
}

/// Options that do not say what they are for, or show no value.
fn unexplained_options(text: &str) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    for apply in syntax(text)?.descendants().filter_map(Apply::cast) {
        let function = apply
            .lambda()
            .map(|lambda| lambda.syntax().text().to_string());
        let is_option = function
            .is_some_and(|function| function == "mkOption" || function.ends_with(".mkOption"));
        let Some(Expr::AttrSet(set)) = apply.argument().filter(|_| is_option) else {
            continue;
        };
        let has = attributes(&set);
        // Internal options are no operator's, and nobody sets a read-only one.
        let internal = ["internal", "readOnly"].map(String::from);
        if has.iter().any(|name| internal.contains(name)) {
            continue;
        }
        for want in ["description", "example"] {
            if !has.iter().any(|name| name == want) {
                let line = line(text, apply.syntax());
                wrong.push(format!("line {line}: an option without {want}"));
            }
        }
    }
    Ok(wrong)
}

/// What a check finds in all files.
fn findings(check: impl Fn(&str) -> Result<Vec<String>, String>) -> String {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let name = path.strip_prefix(tree()).unwrap().display().to_string();
        match check(&text) {
            Ok(lines) => found.extend(lines.iter().map(|line| format!("{name}, {line}"))),
            Err(error) => found.push(format!("{name}: {error}")),
        }
    }
    found.join("\n")
}

#[test]
fn every_file_parses() {
    let wrong = findings(|text| syntax(text).map(|_| Vec::new()));
    assert!(wrong.is_empty(), "{wrong}");
    assert!(syntax("{ a = 1 }").is_err());
}

#[test]
fn every_file_is_formatted() {
    let rewrite = std::env::var_os("PHOTON_REGENERATE").is_some();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        match nixfmt_rs::format(&text) {
            Ok(formatted) if formatted == text => {}
            Ok(formatted) if rewrite => fs::write(&path, formatted).unwrap(),
            Ok(_) => wrong.push(path.display().to_string()),
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
        }
    }
    assert!(
        wrong.is_empty(),
        "run `nix fmt`, or this test with PHOTON_REGENERATE=1: {}",
        wrong.join(", ")
    );
    assert_ne!(nixfmt_rs::format("{a=1;}").unwrap(), "{a=1;}");
}

#[test]
fn nothing_is_unused() {
    let wrong = findings(unused);
    assert!(wrong.is_empty(), "{wrong}");
    let sample = "{ lib, pkgs, ... }:\nlet\n  a = 1;\nin\n{ b = pkgs; }\n";
    let found = unused(sample).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].starts_with("line 3") && found[1].ends_with("a"),
        "{found:?}"
    );
}

#[test]
fn no_names_come_from_with() {
    let wrong = findings(withs);
    assert!(wrong.is_empty(), "{wrong}");
    let found = withs("{ lib }:\nwith lib;\ntypes.str").unwrap();
    assert_eq!(found, ["line 2: with lib;"]);
}

#[test]
fn every_option_is_explained() {
    let wrong = findings(unexplained_options);
    assert!(wrong.is_empty(), "{wrong}");
    let sample = "{ lib }: {\n\
        a = lib.mkOption { type = lib.types.str; description = \"A.\"; };\n\
        b = lib.mkOption { internal = true; };\n\
        c = lib.mkEnableOption \"c\";\n}";
    let found = unexplained_options(sample).unwrap();
    assert_eq!(found, ["line 2: an option without example"]);
}

/// What NixOS puts before a script of writeShellApplication.
const STRICT: [&str; 6] = ["-o", "errexit", "-o", "nounset", "-o", "pipefail"];

#[test]
fn the_netboot_image_lets_the_provisioner_in() {
    let directory = tempfile::tempdir().unwrap();
    let command_line = directory.path().join("cmdline");
    let keys = directory.path().join("ssh/authorized_keys");
    let told = |text: &str| {
        fs::write(&command_line, text).unwrap();
        let script = tree().join("netboot/installer-key.sh");
        let status = std::process::Command::new("bash")
            .args(STRICT)
            .arg(script)
            .args([&command_line, &keys])
            .status();
        assert!(status.unwrap().success());
        fs::read_to_string(&keys).unwrap_or_default()
    };
    // As photon-provisioner writes it.
    assert_eq!(
        told("init=/init photon.provisioner=http://192.0.2.1:8089\n"),
        ""
    );
    assert_eq!(
        told("init=/init photon.ssh_key=ssh-ed25519%20AAAA+/=%20installer@example console=ttyS0\n"),
        "ssh-ed25519 AAAA+/= installer@example\n"
    );
}
