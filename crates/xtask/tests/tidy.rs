//! The boundaries that docs/architecture.md draws, kept by a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use photon_api::components::{self, COMPONENTS, ProgramKind};

/// The longest that a source file may be without its tests, in lines.
const LONGEST_FILE: usize = 600;

/// The components' names, which are their crates'.
fn components() -> impl Iterator<Item = &'static str> {
    COMPONENTS.into_iter().map(|component| component.name)
}

/// What runs on every host: crates of their own.
fn agents() -> impl Iterator<Item = &'static str> {
    components::programs()
        .filter(|program| program.kind == ProgramKind::Agent)
        .map(|program| program.name)
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("crates/xtask has a parent")
        .to_path_buf()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("generated") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// All sources of the product, with their paths below `crates/`; not the tests' own files.
fn sources() -> Vec<(String, String)> {
    let crates = crates();
    let mut files = Vec::new();
    for entry in fs::read_dir(&crates).unwrap() {
        rust_files(&entry.unwrap().path().join("src"), &mut files);
    }
    assert!(files.len() > 50, "the sources were not found: {files:?}");
    files
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(&crates)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .filter(|(name, _)| !name.ends_with("tests.rs") && !name.contains("/tests/"))
        .collect()
}

/// The part before the file's own test module.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ")
        .map_or(text, |at| &text[..at])
}

fn manifest(name: &str) -> String {
    fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap()
}

fn dependencies(name: &str) -> String {
    let manifest = manifest(name);
    let start = manifest
        .find("[dependencies]")
        .expect("every crate says what it depends on");
    let rest = &manifest[start + 1..];
    rest[..rest.find("\n[").unwrap_or(rest.len())].to_owned()
}

#[test]
fn components_reach_each_other_only_through_the_api() {
    for component in components().chain(agents()) {
        let dependencies = dependencies(component);
        for other in components().filter(|other| *other != component) {
            assert!(
                !dependencies
                    .lines()
                    .any(|line| line.split([' ', '.', '=']).next() == Some(other)),
                "{component} depends on {other}: use its client in photon-api"
            );
        }
    }
}

/// What of ours a crate depends on, without versions and features.
fn ours(name: &str) -> Vec<String> {
    let dependencies = dependencies(name);
    dependencies
        .lines()
        .filter_map(|line| line.split([' ', '.', '=']).next())
        .filter(|name| name.starts_with("photon-") || components().any(|it| it == *name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn who_runs_against_any_cloud_knows_it_by_its_api_alone() {
    assert_eq!(
        ours("client"),
        ["photon-api"],
        "a program elsewhere uses the client: it must not depend on how a server is made"
    );
    assert_eq!(
        ours("e2e"),
        ["photon-api", "photon-client"],
        "what runs against any cloud must not depend on how ours is made"
    );
    let cli = ours("cli");
    assert!(
        !cli.iter()
            .any(|name| name == "photon-service" || components().any(|it| it == name)),
        "photon is installed where no server is, and depends on {cli:?}"
    );
}

/// Everything of ours that a crate links, by the names of the crates.
fn linked(name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec![name.to_owned()];
    while let Some(name) = next.pop() {
        let folder = name.strip_prefix("photon-").unwrap_or(&name);
        if crates().join(folder).is_dir() && found.insert(name.clone()) {
            let dependencies = dependencies(folder);
            let names = dependencies.lines().skip(1);
            next.extend(
                names.filter_map(|line| Some(line.split([' ', '.', '=']).next()?.to_owned())),
            );
        }
    }
    found
}

#[test]
fn what_runs_on_every_host_links_no_store_and_no_server() {
    assert!(linked("plasmavmc").contains("flaredb"), "servers do");
    for program in agents().chain(["photon-enrol", "plasmavmc-metadata"]) {
        let linked = linked(program);
        for server_side in ["flaredb", "chainfire", "photon-service", "photon-catalog"] {
            assert!(
                !linked.contains(server_side),
                "{program} links {server_side}, by {linked:?}"
            );
        }
    }
}

#[test]
fn no_program_of_a_cloud_links_the_solvers_side() {
    assert!(linked("cli").contains("photon-proof"), "photon does");
    for program in components().chain(agents()).chain(["photon-enrol"]) {
        assert!(
            !linked(program).contains("photon-proof"),
            "{program} links what is for tests and for photon alone"
        );
    }
}

#[test]
fn only_host_speaks_d_bus_or_starts_processes() {
    for entry in fs::read_dir(crates()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name != "host" && name != "xtask" {
            let dependencies = dependencies(&name);
            assert!(
                !dependencies.contains("\nzbus"),
                "{name} depends on zbus: use photon-host"
            );
        }
    }
    for (name, text) in sources() {
        if name.starts_with("host/") || name.starts_with("xtask/") {
            continue;
        }
        let text = without_tests(&text);
        assert!(
            !text.contains("process::Command"),
            "{name} starts a process: use photon-host"
        );
    }
}

#[test]
fn wire_types_stay_out_of_models_plans_and_stores_and_of_rules() {
    for (name, text) in sources() {
        let in_layer =
            |component: &str, layer: &str| name.starts_with(&format!("{component}/src/{layer}"));
        let inner = components().chain(agents()).any(|component| {
            ["model", "plan", "store"]
                .iter()
                .any(|layer| in_layer(component, layer))
        });
        let rules = components().any(|component| in_layer(component, "app"));
        assert!(
            !(inner || rules) || !without_tests(&text).contains("photon_api"),
            "{name} uses wire types: convert them in convert.rs"
        );
    }
}

/// The modules of this crate that a file uses.
fn modules_used(text: &str) -> impl Iterator<Item = &str> {
    let parts = without_tests(text).split("crate::").skip(1);
    parts.map(|rest| {
        rest.split(|it: char| !(it.is_alphanumeric() || it == '_'))
            .next()
            .unwrap_or_default()
    })
}

#[test]
fn plans_are_pure_and_hypervisors_know_no_agent() {
    for (name, text) in sources() {
        for agent in agents() {
            for layer in ["plan", "hypervisor"] {
                if !name.starts_with(&format!("{agent}/src/{layer}")) {
                    continue;
                }
                let others: Vec<&str> = modules_used(&text).filter(|it| *it != layer).collect();
                assert!(others.is_empty(), "{name} uses {others:?} of the agent");
            }
        }
    }
}

#[test]
fn files_hold_one_thing() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(name, text)| (without_tests(&text).lines().count(), name))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, name)| format!("{name} ({lines} lines)"))
        .collect();
    assert!(
        long.is_empty(),
        "longer than {LONGEST_FILE} lines: {}",
        long.join(", ")
    );
}

#[test]
fn no_test_is_skipped_and_nothing_is_left_for_later() {
    let mut files = Vec::new();
    rust_files(&crates(), &mut files);
    // Put together here, so that this file does not find itself.
    let words = [
        ["#[ign", "ore"].concat(),
        ["FIX", "ME"].concat(),
        ["TO", "DO:"].concat(),
    ];
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for word in &words {
            assert!(
                !text.contains(word.as_str()),
                "{} has {word}",
                path.display()
            );
        }
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for entry in fs::read_dir(crates()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            manifest(&name).contains("[lints]\nworkspace = true"),
            "{name} has lints of its own"
        );
    }
}

#[test]
fn every_component_is_walked_and_held_to_the_contracts() {
    let tests = crates().join("testcloud/tests/every_rpc");
    let contracts = fs::read_to_string(tests.join("contracts.rs")).unwrap();
    for component in components() {
        let walk = fs::read_to_string(tests.join(format!("{component}.rs")));
        assert!(
            walk.is_ok_and(|walk| walk.contains("has_its_walls()")),
            "testcloud/tests/every_rpc/{component}.rs has no walk over every RPC of {component}"
        );
        assert!(
            contracts.contains(&format!("channel(\"{component}\")")),
            "testcloud/tests/every_rpc/contracts.rs does not hold {component} to the contracts"
        );
    }
}

#[test]
fn the_map_and_the_units_know_every_program_of_the_table() {
    let root = crates().join("..");
    let map = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    for component in COMPONENTS {
        let row = format!("\n| `{}` |", component.name);
        assert!(
            map.contains(&row),
            "the map's crates lack {}",
            component.name
        );
        for program in component.programs {
            let row = match program.kind {
                ProgramKind::Server => format!("\n| `{}` | {}", program.unit(), component.port),
                ProgramKind::Agent => format!("\n| `{}` | – |", program.unit()),
            };
            assert!(map.contains(&row), "the map's processes lack {row:?}");
        }
    }
    let units = root.join("modules/units");
    for program in components::programs() {
        let unit = program.unit();
        let read = |name: &str| fs::read_to_string(units.join(name)).unwrap();
        let start = format!("ExecStart=@bindir@/{}", program.name);
        assert!(
            read(&unit).contains(&start),
            "{unit} starts another program"
        );
        if program.identity.is_some() {
            let key = format!("LoadCredential={}.key:", program.name);
            assert!(
                read("iam-server.service").contains(&key),
                "iam-server.service has no {key}"
            );
        }
    }
}
