//! What evaluation gives the example hosts (`tests/golden`) fits this tree: its units, and its programs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use photon_api::components;
use tempfile::TempDir;
use xtask::photoncloud::programs::Programs;
use xtask::photoncloud::rendered::{self, DROP_IN, Rendered, without_placeholders};
use xtask::photoncloud::{CREDENTIALS, tree, units};

const REFRESH: &str = "run tests/golden/refresh";

/// The values of a key in a unit file, where one line may have several.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .flat_map(str::split_whitespace)
        .collect()
}

#[test]
fn drop_ins_and_whole_units_fit_the_units_of_this_tree() {
    let ours = units().unwrap();
    for host in Rendered::all().unwrap() {
        let mut found = 0;
        for (name, text) in host.units() {
            found += 1;
            let place = format!("{}: {name}", host.host);
            if let Some(unit) = name.strip_suffix(DROP_IN) {
                assert!(
                    ours.contains_key(unit),
                    "{place} changes a unit that modules/units has not"
                );
                continue;
            }
            assert!(
                !ours.contains_key(name),
                "{place} would hide modules/units/{name}: {REFRESH}"
            );
            // What NixOS makes of a unit of ours that is not there: only what we add to it.
            let does = [
                "ExecStart=",
                "OnCalendar=",
                "OnUnitActiveSec=",
                "PathChanged=",
            ];
            assert!(
                does.iter().any(|key| text.contains(key)),
                "{place} does nothing: modules/units has no {name}"
            );
        }
        assert!(found > 0, "{} has no units", host.host);
    }
}

/// Each program's unit hands it the key that it signs in with, and iam-server's, which knows them all, all of them.
#[test]
fn units_hand_out_the_keys_of_the_programs_that_have_an_identity() {
    let ours = units().unwrap();
    let signing_in = components::programs().filter(|program| program.identity.is_some());
    let mut keys = BTreeSet::new();
    for program in signing_in {
        let key = format!("{CREDENTIALS}/{}.key", program.name);
        let own = values(&ours[&program.unit()], "LoadCredential");
        assert_eq!(own, [format!("identity:{key}")], "{}", program.name);
        keys.insert(format!("{}.key:{key}", program.name));
    }
    let iam = values(&ours["iam-server.service"], "LoadCredential").into_iter();
    let others = iam.filter(|credential| !credential.starts_with("operator-password:"));
    assert_eq!(others.map(str::to_owned).collect::<BTreeSet<_>>(), keys);
}

#[test]
fn every_unit_is_wanted_as_its_own_file_says() {
    let ours = units().unwrap();
    let mut wanted = BTreeSet::new();
    for host in Rendered::all().unwrap() {
        assert!(!host.wants.is_empty(), "{} enables nothing", host.host);
        for (target, unit) in &host.wants {
            if let Some(text) = ours.get(unit) {
                let says = values(text, "WantedBy");
                assert!(
                    says.contains(&target.as_str()),
                    "{}: {target} wants {unit}, whose file says {says:?}",
                    host.host
                );
                wanted.insert(unit.clone());
            } else {
                let whole = format!("{}{unit}", rendered::UNITS);
                assert!(
                    host.files.contains_key(&whole),
                    "{}: {target} wants {unit}, which is nowhere",
                    host.host
                );
            }
        }
    }
    // Else a unit would run on the rack, and on no host.
    let installed = ours
        .iter()
        .filter(|(_, text)| text.contains("\n[Install]"))
        .map(|(unit, _)| unit.clone());
    let forgotten: Vec<_> = installed.filter(|unit| !wanted.contains(unit)).collect();
    assert!(forgotten.is_empty(), "no example host wants {forgotten:?}");
}

/// A unit's last word on a key.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = text.lines().rev();
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// What a service may use has an end, and what is ours goes before tenants' virtual machines (100) when there is no memory
/// left.
#[test]
fn every_service_is_bounded_and_gives_way_to_tenants() {
    let mut services = units().unwrap();
    for host in Rendered::all().unwrap() {
        let whole = host.units().filter(|(name, _)| !name.contains('/'));
        services.extend(whole.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
    services.retain(|name, _| name.ends_with(".service"));
    assert!(services.len() > 10, "{services:?}");
    for (name, text) in services {
        for key in ["MemoryMax", "TasksMax"] {
            assert!(value(&text, key).is_some(), "{name} has no {key}");
        }
        if value(&text, "Restart") == Some("always") {
            assert!(value(&text, "MemoryHigh").is_some(), "{name}");
            let adjust = value(&text, "OOMScoreAdjust").and_then(|it| it.parse::<i32>().ok());
            assert_eq!(adjust, Some(1000), "{name}");
        }
    }
}

#[test]
fn every_file_of_settings_is_of_a_unit_that_reads_it() {
    for host in Rendered::all().unwrap() {
        let settings = host
            .files
            .keys()
            .filter_map(|path| path.strip_prefix("etc/photoncloud/")?.strip_suffix(".toml"));
        let mut found = 0;
        for program in settings {
            found += 1;
            let drop_in = format!("{}{program}.service{DROP_IN}", rendered::UNITS);
            let text = host.files.get(&drop_in);
            let reads = format!("PHOTON_CONFIG=/etc/photoncloud/{program}.toml");
            assert!(
                text.is_some_and(|text| text.contains(&reads)),
                "{}: {program}.service does not read {program}.toml",
                host.host
            );
        }
        assert!(found > 0, "{} has no settings", host.host);
    }
}

#[test]
fn every_unit_starts_a_program_of_this_tree() {
    let programs = Programs::ensure().unwrap();
    let ours = std::fs::read_dir(tree().join("modules/units")).unwrap();
    let mut started = BTreeSet::new();
    for unit in ours {
        let text = std::fs::read_to_string(unit.unwrap().path()).unwrap();
        let names = text.split("@bindir@/").skip(1);
        started.extend(names.filter_map(|rest| Some(rest.split_whitespace().next()?.to_owned())));
    }
    assert!(started.contains("iam-server"), "{started:?}");
    let missing: Vec<_> = started
        .iter()
        .filter(|name| !programs.path(name).is_some_and(Path::is_file))
        .collect();
    assert!(
        missing.is_empty(),
        "units start {missing:?}, which no package has"
    );
}

/// The program's own judgement; certificates are some of this test's own.
fn check(
    programs: &Programs,
    directory: &Path,
    program: &str,
    settings: &str,
) -> Result<(), String> {
    let handed = format!("/run/credentials/{program}.service/");
    let here = format!("{}/", directory.display());
    let file = directory.join(format!("{program}.toml"));
    std::fs::write(
        &file,
        without_placeholders(settings).replace(&handed, &here),
    )
    .unwrap();
    let path = programs
        .path(program)
        .ok_or_else(|| format!("this tree has no program {program}"))?;
    let output = Command::new(path)
        .arg("--config")
        .arg(&file)
        .arg("--check-config")
        .output()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn credentials() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["node01".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    for (name, text) in [
        ("tls-ca", certificate.pem()),
        ("tls-certificate", certificate.pem()),
        ("tls-key", key.serialize_pem()),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn programs_accept_their_settings() {
    let programs = Programs::ensure().unwrap();
    let directory = credentials();
    let mut wrong = Vec::new();
    let mut checked = 0;
    // `examples` has every option's example, `all-in-one` and the like what the example hosts have.
    let golden = tree().join("tests/golden");
    for entry in std::fs::read_dir(&golden).unwrap() {
        let entry = entry.unwrap();
        if !entry.path().join("etc/photoncloud").is_dir() {
            continue;
        }
        for (path, text) in rendered::files(&entry.path(), "etc/photoncloud").unwrap() {
            let Some(program) = path
                .strip_prefix("etc/photoncloud/")
                .and_then(|name| name.strip_suffix(".toml"))
            else {
                continue;
            };
            checked += 1;
            let place = format!("{}/{path}", entry.file_name().display());
            if let Err(error) = check(&programs, directory.path(), program, &text) {
                wrong.push(format!("{place}: {error}"));
            }
            let broken = format!("nonsense = 1\n{text}");
            if check(&programs, directory.path(), program, &broken).is_ok() {
                wrong.push(format!("{place}: takes any key"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 10, "only {checked} files were found");
}
