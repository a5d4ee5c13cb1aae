//! What Nix runs over a script before it builds it, run without Nix: ShellCheck over every `writeShellApplication`
//! (pkgs/build-support/trivial-builders of nixpkgs, where any finding is a failure), mypy and pyflakes over the script
//! of every NixOS test (nixos/lib/testing/driver.nix). nixpkgs' programs are newer than Debian's and may find more.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rnix::SyntaxNode;
use rnix::ast::{
    Apply, AttrSet, AttrpathValue, BinOpKind, Entry, Expr, HasEntry, InterpolPart, Lambda, LetIn,
    Param, Str,
};
use rowan::ast::AstNode;
use xtask::photoncloud::{BINDIR, program_units, tree, units};

use crate::{sources, syntax};

/// Stands for what only evaluation knows: nearly always a path of the store.
const UNKNOWN: &str = "/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-unknown";

/// What writeShellApplication puts before a text.
const HEADER: &str = "#!/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-bash/bin/bash\n\
    set -o errexit\nset -o nounset\nset -o pipefail\n\n\
    export PATH=\"/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-unknown/bin:$PATH\"\n\n";

/// Debian's name of it, and everybody else's.
const PYFLAKES: [&str; 2] = ["pyflakes3", "pyflakes"];

/// The driver's own names and types, for mypy.
const DRIVER: &str = include_str!("driver.py");

/// A file of the tree.
struct Source {
    path: PathBuf,
    root: SyntaxNode,
}

impl Source {
    fn all() -> Vec<Self> {
        let files = sources().into_iter();
        let parsed = files.map(|(path, text)| Source {
            path,
            root: syntax(&text).unwrap(),
        });
        parsed.collect()
    }

    fn read(path: &str) -> Self {
        let path = tree().join(path);
        let root = syntax(&fs::read_to_string(&path).unwrap()).unwrap();
        Source { path, root }
    }

    fn name(&self) -> String {
        let path = self.path.strip_prefix(tree()).unwrap();
        path.display().to_string()
    }

    /// What the file binds this name to, wherever it does.
    fn bound(&self, name: &str) -> Option<Expr> {
        let bindings = self.root.descendants().filter_map(AttrpathValue::cast);
        bindings
            .filter(|binding| path_of(binding) == name)
            .find_map(|binding| binding.value())
    }
}

fn path_of(binding: &AttrpathValue) -> String {
    let path = binding.attrpath();
    path.map(|path| path.syntax().text().to_string())
        .unwrap_or_default()
}

fn text_of(expr: &Expr) -> String {
    expr.syntax().text().to_string()
}

/// `pkgs.writeShellApplication` calls `writeShellApplication`.
fn calls(apply: &Apply, function: &str) -> bool {
    let called = apply.lambda().map(|it| text_of(&it)).unwrap_or_default();
    called == function || called.ends_with(&format!(".{function}"))
}

/// The text of a string, where `known` has that of interpolations.
fn fill(string: &Str, known: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::new();
    for part in string.normalized_parts() {
        match part {
            InterpolPart::Literal(literal) => text.push_str(&literal),
            InterpolPart::Interpolation(interpolation) => {
                let expr = interpolation.expr().map(|it| text_of(&it));
                let known = known(&expr.unwrap_or_default());
                text.push_str(&known.unwrap_or_else(|| UNKNOWN.to_owned()));
            }
        }
    }
    text
}

/// The texts that an expression can be, each with where it stands. A function's parameter is what its callers give.
fn texts(expr: &Expr, of: &Source, all: &[Source]) -> Result<Vec<(String, String)>, String> {
    let not_understood = || format!("{}: this check cannot follow {}", of.name(), text_of(expr));
    match expr {
        Expr::Str(string) => Ok(vec![(of.name(), fill(string, |_| None))]),
        Expr::Paren(paren) => texts(&paren.expr().ok_or_else(not_understood)?, of, all),
        Expr::Apply(apply) if calls(apply, "readFile") => {
            let argument = apply.argument().ok_or_else(not_understood)?;
            let folder = of.path.parent().unwrap();
            let path = folder.join(text_of(&argument));
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let name = path.file_name().unwrap().display();
            Ok(vec![(format!("{}, {name}", of.name()), text)])
        }
        Expr::Ident(ident) => {
            let name = ident.syntax().text().to_string();
            let functions = ident.syntax().ancestors().filter_map(Lambda::cast);
            let mut functions = functions.filter(|function| {
                matches!(function.param(), Some(Param::IdentParam(it)) if it.syntax().text() == name.as_str())
            });
            match functions.next() {
                Some(function) => arguments(&function, all),
                None => texts(&of.bound(&name).ok_or_else(not_understood)?, of, all),
            }
        }
        _ => Err(not_understood()),
    }
}

/// What the callers of a function give it.
fn arguments(function: &Lambda, all: &[Source]) -> Result<Vec<(String, String)>, String> {
    let binding = function.syntax().parent().and_then(AttrpathValue::cast);
    let name = path_of(&binding.ok_or("a function without a name")?);
    let mut found = Vec::new();
    for source in all {
        let applied = source.root.descendants().filter_map(Apply::cast);
        for call in applied.filter(|apply| calls(apply, &name)) {
            let argument = call.argument().ok_or("a call without an argument")?;
            found.extend(texts(&argument, source, all)?);
        }
    }
    if found.is_empty() {
        return Err(format!("nobody calls {name}"));
    }
    Ok(found)
}

/// The text of every writeShellApplication, with where it stands.
fn applications(all: &[Source]) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for source in all {
        let applied = source.root.descendants().filter_map(Apply::cast);
        for call in applied.filter(|apply| calls(apply, "writeShellApplication")) {
            let Some(Expr::AttrSet(set)) = call.argument() else {
                return Err(format!("{}: no attribute set", source.name()));
            };
            for entry in set.entries() {
                match entry {
                    Entry::AttrpathValue(binding) => match path_of(&binding).as_str() {
                        "text" => found.extend(texts(&binding.value().unwrap(), source, all)?),
                        "name" | "runtimeInputs" => {}
                        // Some of them change what is checked.
                        other => return Err(format!("{}: {other} is unknown here", source.name())),
                    },
                    Entry::Inherit(inherit) => {
                        for name in inherit.attrs() {
                            let ident = Expr::cast(name.syntax().clone());
                            found.extend(texts(&ident.unwrap(), source, all)?);
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Runs the first of these programs that is here, which are one by different names. One must be: nobody else would say
/// what it says.
fn run(programs: &[&str], variables: &[(&str, String)], arguments: &[&str]) -> Output {
    for program in programs {
        let mut command = Command::new(program);
        command.args(arguments).envs(variables.iter().cloned());
        match command.output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            ran => return ran.unwrap_or_else(|error| panic!("{program}: {error}")),
        }
    }
    let names = programs.join(" or ");
    panic!("there is no {names} here; `cargo xtask test` installs what its tests need")
}

/// What a program that ends with 0 when it finds nothing says of a text.
fn findings(
    programs: &[&str],
    variables: &[(&str, String)],
    options: &[&str],
    text: &str,
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let output = run(programs, variables, &[options, &[&file]].concat());
    if output.status.success() {
        return String::new();
    }
    let said = [output.stdout, output.stderr].concat();
    format!(
        "{}{} refuses it",
        String::from_utf8_lossy(&said),
        programs[0]
    )
}

fn shellcheck(text: &str) -> String {
    findings(&["shellcheck"], &[], &[], &format!("{HEADER}{text}"))
}

/// The script of a NixOS test, without what the driver brings.
struct Script {
    name: String,
    text: String,
    machines: Vec<String>,
}

impl Script {
    fn all() -> Vec<Self> {
        let folder = fs::read_dir(tree().join("tests")).unwrap();
        let files = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let tests = files.filter(|name| name.ends_with(".nix") && name != "default.nix");
        let mut tests: Vec<_> = tests
            .map(|name| Script::of(&Source::read(&format!("tests/{name}"))).unwrap())
            .collect();
        tests.sort_by(|one, other| one.name.cmp(&other.name));
        tests
    }

    fn of(source: &Source) -> Result<Self, String> {
        let wrong = |what: &str| format!("{}: {what}", source.name());
        let bindings = source.root.descendants().filter_map(AttrpathValue::cast);
        let mut scripts = bindings.filter(|binding| path_of(binding) == "testScript");
        let script = scripts.next().ok_or_else(|| wrong("no testScript"))?;
        let mut value = script.value();
        let string = loop {
            value = match value {
                Some(Expr::Str(string)) => break string,
                Some(Expr::Lambda(lambda)) => lambda.body(),
                Some(Expr::LetIn(let_in)) => LetIn::body(&let_in),
                _ => return Err(wrong("testScript is no string")),
            };
        };
        let support = Source::read("tests/support/default.nix");
        let text = fill(&string, |expr| {
            let name = expr.strip_prefix("support.")?;
            match support.bound(name) {
                Some(Expr::Str(string)) => Some(fill(&string, |expr| {
                    // Of a list of names only its type matters here.
                    let list = expr.starts_with("builtins.toJSON ");
                    list.then(|| "[\"unknown\"]".to_owned())
                })),
                _ => panic!("tests/support has no text {name}"),
            }
        });
        let mut machines = Vec::new();
        let test = script.syntax().parent().and_then(AttrSet::cast);
        for entry in test
            .ok_or_else(|| wrong("testScript is in no set"))?
            .entries()
        {
            let Entry::AttrpathValue(binding) = entry else {
                continue;
            };
            let path = path_of(&binding);
            if let Some(name) = path.strip_prefix("nodes.") {
                machines.extend(name.split('.').next().map(str::to_owned));
            } else if path == "nodes" {
                machines.extend(names(&binding.value().unwrap(), source)?);
            }
        }
        Ok(Script {
            name: source.name(),
            text,
            machines,
        })
    }

    /// As driver.nix has it checked; `cache` is where mypy keeps what it knows of Python itself.
    fn mypy(&self, cache: &Path) -> String {
        let machines = self
            .machines
            .iter()
            .map(|name| format!("{name}: Machine\n"));
        let typed = format!("{DRIVER}{}{}", machines.collect::<String>(), self.text);
        let cache = format!("--cache-dir={}", cache.display());
        let options = [&cache, "--no-implicit-optional", "--no-color-output"];
        findings(&["mypy"], &[], &options, &typed)
    }

    fn pyflakes(&self) -> String {
        let brought = DRIVER.lines().filter_map(|line| {
            let name = line.strip_prefix("def ").unwrap_or(line);
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            (end > 0).then(|| name[..end].to_owned())
        });
        let names: Vec<String> = brought.chain(self.machines.iter().cloned()).collect();
        let builtins = [("PYFLAKES_BUILTINS", names.join(","))];
        findings(&PYFLAKES, &builtins, &[], &self.text)
    }
}

/// The names of an attribute set of nodes.
fn names(expr: &Expr, source: &Source) -> Result<Vec<String>, String> {
    let not_understood = || format!("{}: whose nodes are {}?", source.name(), text_of(expr));
    match expr {
        Expr::AttrSet(set) => Ok(set
            .entries()
            .flat_map(|entry| match entry {
                Entry::AttrpathValue(binding) => vec![path_of(&binding)],
                Entry::Inherit(inherit) => {
                    let attributes = inherit.attrs().map(|it| it.syntax().text().to_string());
                    attributes.collect()
                }
            })
            .map(|path| path.split('.').next().unwrap().to_owned())
            .collect()),
        Expr::BinOp(update) if update.operator() == Some(BinOpKind::Update) => {
            let (left, right) = (update.lhs().unwrap(), update.rhs().unwrap());
            Ok([names(&left, source)?, names(&right, source)?].concat())
        }
        // lib.genAttrs LIST FUNCTION
        Expr::Apply(apply) => match apply.lambda() {
            Some(Expr::Apply(inner)) if calls(&inner, "genAttrs") => {
                let list = match inner.argument() {
                    Some(Expr::Ident(ident)) => source.bound(&ident.syntax().text().to_string()),
                    other => other,
                };
                let Some(Expr::List(list)) = list else {
                    return Err(not_understood());
                };
                let items = list.items().map(|item| match item {
                    Expr::Str(string) => Ok(fill(&string, |_| None)),
                    _ => Err(not_understood()),
                });
                items.collect()
            }
            _ => Err(not_understood()),
        },
        _ => Err(not_understood()),
    }
}

#[test]
fn shellcheck_finds_nothing_in_shell_applications() {
    let applications = applications(&Source::all()).unwrap();
    let found: BTreeMap<_, _> = applications
        .iter()
        .map(|(place, text)| (place, shellcheck(text)))
        .filter(|(_, found)| !found.is_empty())
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    // Those of the modules, of the netboot image, and what two tests have in the place of nixos-anywhere.
    let places: Vec<_> = applications
        .iter()
        .map(|(place, _)| place.as_str())
        .collect();
    for place in [
        "modules/components/provisioner.nix",
        "modules/flaredb/default.nix, backup.sh",
        "netboot/default.nix, installer-key.sh",
        "tests/netboot.nix",
        "tests/rack.nix",
    ] {
        assert!(places.contains(&place), "{place} is not among {places:?}");
    }

    // What is a mere remark is one too many for Nix.
    let refused = shellcheck("for word in $(cat \"$1\"); do\n  echo \"$word\"\ndone\n");
    assert!(refused.contains("SC2013"), "{refused}");
}

#[test]
fn mypy_and_pyflakes_find_nothing_in_scripts_of_tests() {
    let scripts = Script::all();
    assert!(scripts.len() >= 4, "only {} were found", scripts.len());
    let machines = |name: &str| {
        let name = format!("tests/{name}.nix");
        let mut found = scripts.iter().filter(|script| script.name == name);
        found.next().unwrap().machines.as_slice()
    };
    assert_eq!(machines("rack"), ["node01", "node02", "node03"]);
    assert_eq!(machines("tenant-path"), ["cloud"]);
    assert_eq!(machines("upgrade"), ["cloud", "upgraded"]);
    let cache = tempfile::tempdir().unwrap();
    for script in &scripts {
        let found = [script.mypy(cache.path()), script.pyflakes()].concat();
        assert!(found.is_empty(), "{}: {found}", script.name);
    }

    let of = |text: &str| Script {
        name: "sample".into(),
        text: text.into(),
        machines: vec!["node01".into()],
    };
    for (wrong, says) in [
        // Names that the driver has itself.
        (
            "machines = {\"node01\": node01}\n",
            "Incompatible types in assignment",
        ),
        ("def machines():\n    return {}\n", "already defined"),
        ("node01.suceed(\"true\")\n", "has no attribute \"suceed\""),
        ("node02.start()\n", "Name \"node02\" is not defined"),
    ] {
        let refused = of(wrong).mypy(cache.path());
        assert!(refused.contains(says), "{wrong}: {refused}");
    }
    let refused = of("import json\nnode01.start()\n").pyflakes();
    assert!(refused.contains("'json' imported but unused"), "{refused}");
    assert_eq!(of("node01.start()\nstart_all()\n").pyflakes(), "");
}

/// The package of NixOS makes the units by a script of its own.
#[test]
fn the_package_brings_the_units_that_the_rack_installs() {
    let package = Source::read("modules/photoncloud.nix");
    let Some(Expr::Str(string)) = package.bound("postInstall") else {
        panic!("modules/photoncloud.nix has no postInstall");
    };
    let programs = program_units().join(" ");
    let script = fill(&string, |expr| {
        assert_eq!(expr, "programs");
        Some(programs.clone())
    });
    let out = tempfile::tempdir().unwrap();
    let status = Command::new("bash")
        .args(["-euc", &script])
        .current_dir(tree())
        .env("out", out.path())
        .status();
    assert!(status.unwrap().success());

    let bin = format!("{}/bin", out.path().display());
    let folder = out.path().join("lib/systemd/system");
    let mut made = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        made.insert(name, text.replace(&bin, BINDIR));
    }
    assert_eq!(made, units().unwrap());
    let iam = &made["iam-server.service"];
    assert!(iam.contains("\nProtectSystem=strict\n"), "{iam}");
    let left = made.values().flat_map(|text| text.lines());
    let left: Vec<_> = left
        .filter(|line| {
            ["@sandbox@", "@programs@", "@bindir@"]
                .iter()
                .any(|it| line.contains(it))
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
