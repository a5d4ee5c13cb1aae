//! The commands of docs/operations do what they say, on node01 of the example cluster: the very files that evaluation
//! of the flake gives it, on a host of the rack.

use std::path::Path;

use xtask::documents::{Fate, blocks};
use xtask::photoncloud::programs::Programs;
use xtask::photoncloud::{self, appliance};
use xtask::rack::{Host, Rack};

use crate::SECOND;

/// In the order in which their commands find what they need.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "first-rack.md",
    "hosts.md",
    "troubleshooting.md",
    "backup.md",
    "upgrade.md",
    "certificates.md",
];

/// What a shell of root has on a host of the example cluster, and what a reader would put in for a name in capitals.
const ENVIRONMENT: &str = "export PHOTON_IAM_ENDPOINT=https://192.0.2.1:50080 \
     PHOTON_PRISMNET_ENDPOINT=https://192.0.2.1:50081 \
     PHOTON_PLASMAVMC_ENDPOINT=https://192.0.2.1:50082 PHOTON_PROVISIONER_ENDPOINT=https://192.0.2.1:50089 \
     PHOTON_CA_FILE=/var/lib/photoncloud/pki/ca.pem PATH=/usr/lib/photoncloud/bin:$PATH \
     GUEST_KERNEL=/run/rack/share/guest-kernel GUEST_INITRD=/run/rack/share/guest-initrd\n";

/// Programs whose commands are compared with what they take.
const PROGRAMS: [&str; 9] = [
    "photon",
    "photon-e2e",
    "photon-enrol",
    "photon-provisioner",
    "iam-server",
    "prismnet-server",
    "plasmavmc-server",
    "prismnet-agent",
    "plasmavmc-agent",
];

/// A tenant as the documents have one, and three machines that have told their inventory.
const STAGE: &str = "
photon login operator --password-file /var/lib/photoncloud/credentials/operator-password
until photon node list -o json | jq -e 'any(.[]; .ready)'; do sleep 0.2; done
photon org create orchid
photon --org orchid project create web
export PHOTON_ORG=orchid PHOTON_PROJECT=web
photon vpc create main --cidr 10.0.0.0/16
photon subnet create front --vpc main --cidr 10.0.1.0/24
photon port create web-1 --subnet front
photon vm create web-1 --memory 64 --port web-1
for number in 1:52:54:00:12:34:56 2:52:54:00:65:43:21 3:52:54:00:ab:cd:ef; do
  curl -sf http://192.0.2.1:8089/inventory -d \"{\\\"serial\\\": \\\"RACK-${number%%:*}\\\", \\\"interfaces\\\": \
[{\\\"name\\\": \\\"enp1s0\\\", \\\"mac\\\": \\\"${number#*:}\\\", \\\"up\\\": true}]}\"
done
";

async fn node01(rack: &Rack) -> Host {
    let programs = tokio::task::spawn_blocking(Programs::ensure);
    let programs = programs.await.unwrap().unwrap();
    let host = rack.host(1);
    appliance::install(&host, &programs, "node01")
        .await
        .unwrap();
    let share = host.share();
    let files = rack.guest();
    std::fs::copy(files.kernel_unpacked, share.join("guest-kernel")).unwrap();
    std::fs::copy(files.initrd, share.join("guest-initrd")).unwrap();
    let backup = photoncloud::tree().join("modules/flaredb/backup.sh");
    std::fs::copy(backup, share.join("photon-backup")).unwrap();
    // Where rendered files name packages of NixOS, Debian has /usr. No machine boots here: three empty files do.
    host.check(
        "set -e
         install -d -m 700 /var/lib/photoncloud/installer
         ssh-keygen -q -t ed25519 -N '' -f /var/lib/photoncloud/installer/ssh-key
         touch /usr/bzImage /usr/initrd /usr/cmdline
         printf '#!/bin/bash\\nset -euo pipefail\\n' | cat - /run/rack/share/photon-backup > /usr/bin/photon-backup
         chmod 755 /usr/bin/photon-backup
         ln -sf /bin/true /usr/bin/nixos-anywhere
         systemctl start --no-block photon.target
         systemctl start photon-renew.timer photon-backup.timer",
    )
    .await
    .unwrap();
    photoncloud::wait_until_active(&host).await.unwrap();
    host
}

/// Runs a script as a reader would, line by line; the first line that fails ends it. What it printed, or what went
/// wrong.
async fn run(host: &Host, place: &str, environment: &str, script: &str) -> Result<String, String> {
    let script = format!("set -eux\nset -o pipefail\n{environment}{script}");
    let output = host.run_for(&script, 300 * SECOND).await;
    let output = output.map_err(|error| format!("{place}: {error:#}"))?;
    eprintln!("==> {place}\n{}", output.stdout);
    if output.success() {
        return Ok(output.stdout);
    }
    Err(format!(
        "{place} ended with {}:\n{}\n{}",
        output.status, output.stdout, output.stderr
    ))
}

/// Waits until the API answers and systemd has nothing under way: some commands end with a restart of ours.
const SETTLE: &str = "until [ -z \"$(systemctl list-jobs --no-legend)\" ] && photon node list && photon machine list; \
     do sleep 0.2; done";

/// The unit and the TAP of the tenant's VM, for commands that ask for one.
async fn names(host: &Host) -> String {
    let script = "vm=$(photon --org orchid --project web vm get web-1 -o json | jq -r .id)
        tap=$(photon --org orchid --project web port get web-1 -o json | jq -r .interface_name)
        until systemctl -q is-active photon-vm-$vm.service && [ -e /sys/class/net/$tap/master ]; do sleep 0.2; done
        echo export VM_ID=$vm TAP=$tap";
    run(host, "names", ENVIRONMENT, script).await.unwrap()
}

#[tokio::test]
async fn the_commands_of_the_operators_pages_work() {
    let rack = Rack::start(1).await.unwrap();
    let host = node01(&rack).await;
    let folder = photoncloud::tree().join("docs/operations");
    let mut wrong = unknown_commands(&folder, &host.share().join("bin"));

    run(&host, "the stage", ENVIRONMENT, STAGE).await.unwrap();
    let environment = format!("{ENVIRONMENT}{}", names(&host).await);
    let mut ran = 0;
    for document in DOCUMENTS {
        for block in blocks(&folder.join(document)).unwrap() {
            if block.fate == Fate::Run {
                let place = format!("{document}:{}", block.line);
                let ended = run(&host, &place, &environment, &block.text).await;
                wrong.extend(ended.err());
                run(&host, "settling", ENVIRONMENT, SETTLE).await.unwrap();
                ran += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(ran > 30, "only {ran} blocks were run");
    photoncloud::wait_until_active(&host).await.unwrap();
}

/// Asks each program for help on each of its commands, with the flags that stand in the documents: it refuses what it
/// does not take. What they refused.
fn unknown_commands(folder: &Path, programs: &Path) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut seen = 0;
    for document in DOCUMENTS {
        for block in blocks(&folder.join(document)).unwrap() {
            for command in commands(&block.text) {
                let output = std::process::Command::new(programs.join(&command[0]))
                    .args(&command[1..])
                    .arg("--help")
                    .output()
                    .unwrap();
                if !output.status.success() {
                    unknown.push(format!(
                        "{document}:{}: {command:?}: {}",
                        block.line,
                        String::from_utf8_lossy(&output.stderr)
                    ));
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} commands were found");
    unknown
}

/// The commands of our programs in a script, as words.
fn commands(script: &str) -> Vec<Vec<String>> {
    let script = script.replace("\\\n", " ");
    let mut found = Vec::new();
    for piece in pieces(&script) {
        let Some(at) = piece
            .iter()
            .position(|word| PROGRAMS.contains(&word.as_str()))
        else {
            continue;
        };
        // Not as another program's argument, such as a unit's name.
        if at == 0
            || piece[..at]
                .iter()
                .all(|word| word.contains('=') || word == "do")
        {
            found.push(piece[at..].to_vec());
        }
    }
    found
}

/// A script's simple commands, as words: taken apart at what a shell takes it apart at, quotes minded.
fn pieces(script: &str) -> Vec<Vec<String>> {
    let mut pieces = vec![Vec::new()];
    let mut word = String::new();
    let mut quote = None;
    for c in script.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c.is_whitespace() || "|;&()<>".contains(c) => {
                if !word.is_empty() {
                    pieces.last_mut().unwrap().push(std::mem::take(&mut word));
                }
                if c == '\n' || "|;&()<>".contains(c) {
                    pieces.push(Vec::new());
                }
            }
            None => word.push(c),
        }
    }
    pieces.last_mut().unwrap().push(word);
    pieces
}

#[test]
fn commands_are_found_in_scripts() {
    let script = "for org in $(photon org list -o json | jq -r '.[].id'); do\n  photon --org \"$org\" \\\n    vm list\n\
                  done\nsystemctl stop iam-server\niam-server verify\n";
    assert_eq!(
        commands(script),
        [
            vec!["photon", "org", "list", "-o", "json"],
            vec!["photon", "--org", "$org", "vm", "list"],
            vec!["iam-server", "verify"],
        ]
    );
}
