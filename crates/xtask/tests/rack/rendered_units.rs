//! systemd's own judgement (systemd-analyze(1)) of every unit as the example hosts have it: the unit files of this
//! tree, and what evaluation puts beside them (`tests/golden`).

use std::collections::BTreeSet;
use std::path::Path;

use xtask::photoncloud::rendered::{Rendered, without_placeholders};
use xtask::photoncloud::{BINDIR, units};
use xtask::rack::Host;

use crate::shared;

/// Of docs/architecture.md: 0 is locked away, 10 wide open.
const MOST: f64 = 2.5;

/// What may be more open, and why.
const LOOSER: [(&str, f64, &str); 1] = [(
    "photon-netns@",
    4.0,
    "what it mounts is for the host: it may have no mount namespace, which most of a sandbox is made of",
)];

/// The host sees it there.
const SEEN: &str = "/run/rack/share/rendered";

/// What a unit of ours must not look like.
const LOOSE: &str = "[Unit]\nDescription=Neither valid nor locked down\n\
    [Service]\nExecStart=/bin/true\nRestrictNamespace=yes\n";

/// Lays out a host's units, and tells their names.
fn lay_out(folder: &Path, host: &Rendered) -> BTreeSet<String> {
    host.place(folder).unwrap();
    let directory = folder.join("etc/systemd/system");
    for (name, text) in units().unwrap() {
        std::fs::write(directory.join(name), text).unwrap();
    }
    std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

fn analyze(host: &str, command: &str, units: &[&str]) -> String {
    format!(
        "SYSTEMD_UNIT_PATH={SEEN}/{host}/etc/systemd/system: systemd-analyze {command} {} 2>&1",
        units.join(" ")
    )
}

async fn verify(on: &Host, host: &str, units: &[&str]) -> Result<(), String> {
    let command = analyze(host, "verify --man=no --recursive-errors=no", units);
    let output = on.run(&command).await.unwrap();
    if output.success() && output.stdout.trim().is_empty() {
        return Ok(());
    }
    Err(format!("{host}: {}{}", output.stdout, output.stderr))
}

async fn exposure(on: &Host, host: &str, units: &[&str]) -> Vec<(String, f64)> {
    let command = analyze(host, "security --offline=true --no-pager", units);
    let report = on.run(&command).await.unwrap().stdout;
    let levels = report.lines().filter_map(|line| {
        let (_, rest) = line.split_once("Overall exposure level for ")?;
        let (unit, level) = rest.split_once(": ")?;
        let level = level.split(' ').next()?.parse().ok()?;
        Some((unit.to_owned(), level))
    });
    levels.collect()
}

/// Programs that units start and this host has not: here only their names matter, for the tests of the tree find the
/// programs themselves.
fn started(texts: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut programs = BTreeSet::new();
    for text in texts {
        for line in text.lines() {
            let Some((key, command)) = line.split_once('=') else {
                continue;
            };
            if key.starts_with("Exec") {
                let program = command.trim_start_matches(['-', '+', '!', '@', ':']);
                programs.extend(program.split_whitespace().next().map(str::to_owned));
            }
        }
    }
    programs
}

#[tokio::test]
async fn systemd_finds_every_rendered_unit_valid_and_locked_down() {
    let on = shared().await;
    let folder = on.share().join("rendered");
    let mut wrong = Vec::new();
    let hosts = Rendered::all().unwrap();

    let own = units().unwrap();
    let rendered = hosts.iter().flat_map(Rendered::units);
    let texts = own
        .values()
        .cloned()
        .chain(rendered.map(|(_, text)| without_placeholders(text)));
    let programs = started(texts);
    assert!(programs.iter().any(|path| path.starts_with(BINDIR)));
    let list: Vec<&str> = programs.iter().map(String::as_str).collect();
    on.check(&format!(
        "for program in {}; do [ -e $program ] && continue; \
         mkdir -p $(dirname $program); ln -s /bin/true $program; echo $program >> /run/rendered-programs; done",
        list.join(" ")
    ))
    .await
    .unwrap();

    let mut seen = Vec::new();
    for host in &hosts {
        let names = lay_out(&folder.join(&host.host), host);
        // Hosts with the same units have the same judgement.
        let texts: Vec<_> = host.units().collect();
        if seen.contains(&texts) {
            continue;
        }
        seen.push(texts);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Err(error) = verify(&on, &host.host, &names).await {
            wrong.push(error);
        }
        let services: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| name.ends_with(".service"))
            .collect();
        let levels = exposure(&on, &host.host, &services).await;
        assert_eq!(levels.len(), services.len(), "{levels:?}");
        for (unit, level) in levels {
            eprintln!("{}: {unit}: {level}", host.host);
            let looser = LOOSER.iter().find(|(name, ..)| unit.starts_with(name));
            let most = looser.map_or(MOST, |(_, most, why)| {
                eprintln!("  at most {most}: {why}");
                *most
            });
            if level > most {
                wrong.push(format!("{}: {unit}: {level}, at most {most}", host.host));
            }
        }
        if host.files.contains_key("etc/dnsmasq.conf") {
            let test = format!(
                "dnsmasq --test --conf-file={SEEN}/{}/etc/dnsmasq.conf",
                host.host
            );
            if let Err(error) = on.check(&test).await {
                wrong.push(error.to_string());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Each judgement can be a bad one.
    let first = &hosts[0].host;
    let loose = folder.join(first).join("etc/systemd/system/loose.service");
    std::fs::write(loose, LOOSE).unwrap();
    let error = verify(&on, first, &["loose.service"]).await.unwrap_err();
    assert!(error.contains("RestrictNamespace"), "{error}");
    let levels = exposure(&on, first, &["loose.service"]).await;
    assert!(levels[0].1 > MOST, "{levels:?}");

    on.check("xargs rm < /run/rendered-programs; rm /run/rendered-programs")
        .await
        .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
