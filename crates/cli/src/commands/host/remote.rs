//! The programs that reach a host: ssh, nixos-rebuild, nix. Their command lines are made here, and run by photon-host.

use std::time::Duration;

use photon_host::process::{self, Piped, Stream};

use super::facts::{Facts, PROBE};
use crate::error::Failure;

/// The unit that nixos-rebuild runs an activation as (some versions append to it), so that a lost connection does not
/// end it halfway. Ours have the same name: two at once are refused by systemd.
const ACTIVATION: &str = "nixos-rebuild-switch-to-configuration";

/// For what takes a moment on a host that works.
const SHORT: Duration = Duration::from_secs(60);

/// How hosts are reached.
#[derive(Clone, Debug, Default)]
pub struct Ssh {
    /// Each as ssh's `-o` takes it.
    pub options: Vec<String>,
}

/// A host and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name: `nixosConfigurations.NAME`.
    pub name: String,
    pub user: String,
    pub address: String,
}

/// How something that was run ended.
pub type Ended = Result<(), String>;

impl Target {
    /// `user@address`
    pub fn login(&self) -> String {
        format!("{}@{}", self.user, self.address)
    }
}

impl Ssh {
    /// All options: those that make sure that it never asks, then the operator's, of which ssh takes the first.
    fn arguments(&self) -> Vec<String> {
        let own = [
            "BatchMode=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=10",
            "ServerAliveCountMax=6",
        ];
        let options = self.options.iter().map(String::as_str).chain(own);
        options
            .flat_map(|option| ["-o".to_owned(), option.to_owned()])
            .collect()
    }

    /// For the environment of nixos-rebuild, after what the operator has there: nix takes it apart at spaces.
    fn for_nix(&self, kept: &str) -> String {
        let mut words: Vec<String> = kept.split_whitespace().map(str::to_owned).collect();
        words.extend(self.arguments());
        words.join(" ")
    }

    /// Runs a script on the host as root.
    fn script(&self, target: &Target, script: &str, parameters: &[&str]) -> Vec<String> {
        let mut arguments = self.arguments();
        arguments.push(target.login());
        arguments.push("--".to_owned());
        // The remote shell takes this line apart again.
        let mut line = Vec::new();
        if target.user != "root" {
            line.push("sudo -n".to_owned());
        }
        line.push(format!("bash -c {} photon", quote(script)));
        line.extend(parameters.iter().map(|parameter| quote(parameter)));
        arguments.push(line.join(" "));
        arguments
    }

    /// A connection from the host to an address that it reaches.
    pub fn tunnel(&self, target: &Target, to: std::net::SocketAddr) -> photon_host::Result<Piped> {
        let mut arguments = self.arguments();
        arguments.extend(["-W".to_owned(), to.to_string(), target.login()]);
        process::pipe("ssh", &arguments)
    }

    /// Asks the host what it is and runs.
    pub async fn probe(&self, target: &Target) -> Result<Facts, String> {
        let answer = self.output(target, PROBE, &[], SHORT).await?;
        Facts::parse(&answer)
    }

    /// What a script says on its standard output.
    pub async fn output(
        &self,
        target: &Target,
        script: &str,
        parameters: &[&str],
        limit: Duration,
    ) -> Result<String, String> {
        let arguments = self.script(target, script, parameters);
        let mut output = String::new();
        let mut errors = Vec::new();
        let run = process::follow(
            "ssh",
            &arguments,
            &[],
            |stream, line| match stream {
                Stream::Output => {
                    output.push_str(line);
                    output.push('\n');
                }
                Stream::Error => errors.push(line.to_owned()),
            },
            std::future::pending(),
        );
        let status = match tokio::time::timeout(limit, run).await {
            Err(_) => return Err(format!("no answer within {} s", limit.as_secs())),
            Ok(Err(error)) => return Err(error.to_string()),
            Ok(Ok(status)) => status,
        };
        if status.success() {
            return Ok(output);
        }
        let said = last_of(&errors, 3);
        if status.code() == Some(255) {
            return Err(format!("ssh to {} failed: {said}", target.login()));
        }
        Err(format!("a command on it failed ({status}): {said}"))
    }

    /// Runs a script whose lines are for whoever watches.
    pub async fn follow(
        &self,
        target: &Target,
        script: &str,
        parameters: &[&str],
        show: impl FnMut(&str),
        interrupt: impl Future<Output = ()>,
    ) -> Ended {
        let arguments = self.script(target, script, parameters);
        follow("ssh", &arguments, &[], show, interrupt).await
    }
}

/// What `nixos-rebuild` is given to bring a host to what the flake says.
pub fn switch_arguments(flake: &str, target: &Target, more: &[String]) -> Vec<String> {
    let mut arguments = vec![
        "switch".to_owned(),
        "--flake".to_owned(),
        format!("{flake}#{}", target.name),
        "--target-host".to_owned(),
        target.login(),
    ];
    if target.user != "root" {
        arguments.push("--sudo".to_owned());
    }
    arguments.extend(more.iter().cloned());
    arguments
}

/// Builds the host's configuration, copies it there and switches to it.
pub async fn switch(
    ssh: &Ssh,
    flake: &str,
    target: &Target,
    more: &[String],
    show: impl FnMut(&str),
    interrupt: impl Future<Output = ()>,
) -> Ended {
    let kept = std::env::var("NIX_SSHOPTS").unwrap_or_default();
    let variables = [("NIX_SSHOPTS".to_owned(), ssh.for_nix(&kept))];
    let arguments = switch_arguments(flake, target, more);
    follow("nixos-rebuild", &arguments, &variables, show, interrupt).await
}

/// Brings the host to a system that it still has. Not by `nixos-rebuild --rollback`, which goes back by one generation
/// whether or not the switch that failed had made one. Parameters: closure, generation (may be empty).
const SWITCH_BACK: &str = r#"
set -eu
closure=$1 generation=$2 unit=@unit@
profile=/nix/var/nix/profiles/system current=/run/current-system
if [ ! -x "$closure/bin/switch-to-configuration" ]; then
  echo "$closure is not on the host any more" >&2
  exit 1
fi
# An activation that lost its connection goes on; two at once would be neither.
waited=0
while [ -n "$(systemctl list-units --plain --no-legend --state=active,activating,deactivating "$unit*")" ]; do
  [ $waited -lt 300 ] || { echo "an activation is still running after 300 s: systemctl status $unit" >&2; exit 1; }
  [ $waited -gt 0 ] || echo "waiting for an activation that is still running"
  sleep 1
  waited=$((waited + 1))
done
if [ -n "$generation" ] && [ "$(readlink -f "$profile-$generation-link")" = "$closure" ]; then
  nix-env --profile $profile --switch-generation "$generation"
else
  nix-env --profile $profile --set "$closure"
fi
systemd-run --collect --no-ask-password --pipe --wait --quiet --service-type=exec --unit=$unit \
  "$closure/bin/switch-to-configuration" switch && exit
status=$?
# It refuses before it changes anything when the other system differs in what a running host cannot exchange, D-Bus for
# one (NixOS 26.05, "switch inhibitors").
[ "$(readlink -f "$current")" = "$closure" ] ||
  echo "nothing was switched, but the next boot is $closure: reboot the host if the switch was refused" >&2
exit $status
"#;

/// Goes back (or forth) to a system that the host still has.
pub async fn switch_back(
    ssh: &Ssh,
    target: &Target,
    closure: &str,
    generation: Option<u64>,
    show: impl FnMut(&str),
    interrupt: impl Future<Output = ()>,
) -> Ended {
    let generation = generation
        .map(|number| number.to_string())
        .unwrap_or_default();
    let script = SWITCH_BACK.replace("@unit@", ACTIVATION);
    ssh.follow(target, &script, &[closure, &generation], show, interrupt)
        .await
}

/// Tells generation and closure to roll back to. Parameter: a generation's number; empty: the one before the current.
const PREVIOUS: &str = r#"
set -eu
profile=/nix/var/nix/profiles/system
current=$(readlink $profile); current=${current%-link}; current=${current##*-}
wanted=$1
if [ -z "$wanted" ]; then
  wanted=$(ls -d $profile-*-link | sed 's/.*-\([0-9]*\)-link$/\1/' | sort -n | awk -v now="$current" '$1 < now' | tail -n 1)
  [ -n "$wanted" ] || { echo "there is no generation before $current" >&2; exit 1; }
fi
[ -e "$profile-$wanted-link" ] || { echo "there is no generation $wanted; there is: $(ls -d $profile-*-link | sed 's/.*-\([0-9]*\)-link$/\1/' | sort -n | tr '\n' ' ')" >&2; exit 1; }
printf '%s\t%s\n' "$wanted" "$(readlink -f "$profile-$wanted-link")"
"#;

/// Generation and closure of what the host ran before, or of the generation asked for.
pub async fn previous(
    ssh: &Ssh,
    target: &Target,
    generation: Option<u64>,
) -> Result<(u64, String), String> {
    let wanted = generation
        .map(|number| number.to_string())
        .unwrap_or_default();
    let answer = ssh.output(target, PREVIOUS, &[&wanted], SHORT).await?;
    let parse = || {
        let (number, closure) = answer.trim_end().split_once('\t')?;
        Some((number.parse().ok()?, closure.to_owned()))
    };
    parse().ok_or_else(|| {
        format!(
            "its generations are not understood: '{}'",
            answer.trim_end()
        )
    })
}

/// Runs `nix eval --json` and reads its answer.
pub async fn nix_eval(installable: &str, function: &str) -> Result<serde_json::Value, Failure> {
    let arguments = [
        "--extra-experimental-features",
        "nix-command flakes",
        "eval",
        "--json",
        installable,
        "--apply",
        function,
    ];
    let limit = Duration::from_secs(600);
    let answer = process::run("nix", &arguments, b"", limit).await;
    let answer = answer.map_err(|error| match error {
        photon_host::Error::Start { .. } => missing("nix"),
        other => Failure::Local(format!("cannot read the hosts of the flake: {other}")),
    })?;
    serde_json::from_slice(&answer).map_err(|error| {
        Failure::Local(format!("nix eval {installable} answered no JSON: {error}"))
    })
}

/// Refuses early, with advice, when a program is missing.
pub fn ensure_program(program: &str) -> Result<(), Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if there { Ok(()) } else { Err(missing(program)) }
}

fn missing(program: &str) -> Failure {
    let advice = match program {
        "ssh" => {
            "install OpenSSH's client (`nix shell nixpkgs#openssh`, `apt install openssh-client`)"
        }
        "nixos-rebuild" => "on NixOS it is there; elsewhere: `nix shell nixpkgs#nixos-rebuild-ng`",
        _ => "install Nix, or name hosts and their addresses: `--target NAME=root@ADDRESS`",
    };
    Failure::Local(format!("{program} is not on the PATH: {advice}"))
}

async fn follow(
    program: &str,
    arguments: &[String],
    variables: &[(String, String)],
    mut show: impl FnMut(&str),
    interrupt: impl Future<Output = ()>,
) -> Ended {
    let mut last = Vec::new();
    let said = |_, line: &str| {
        show(line);
        if !line.trim().is_empty() {
            last.push(line.trim().to_owned());
        }
    };
    match process::follow(program, arguments, variables, said, interrupt).await {
        Err(error) => Err(error.to_string()),
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let said = last_of(&last, 3);
            Err(format!("{program} ended with {status}: {said}"))
        }
    }
}

fn last_of(lines: &[String], count: usize) -> String {
    let from = lines.len().saturating_sub(count);
    let lines: Vec<&str> = lines[from..].iter().map(|line| line.trim()).collect();
    if lines.is_empty() {
        "it said nothing".to_owned()
    } else {
        lines.join(" / ")
    }
}

/// One word for a shell, whatever is in it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(user: &str) -> Target {
        Target {
            name: "node02".into(),
            user: user.into(),
            address: "192.0.2.2".into(),
        }
    }

    #[test]
    fn nixos_rebuild_gets_its_own_arguments() {
        let more = ["--build-host".to_owned(), "builder".to_owned()];
        assert_eq!(
            switch_arguments("github:example/rack", &target("root"), &more).join(" "),
            "switch --flake github:example/rack#node02 --target-host root@192.0.2.2 --build-host builder"
        );
        let arguments = switch_arguments(".", &target("admin"), &[]);
        assert_eq!(arguments.last().unwrap(), "--sudo");
    }

    #[test]
    fn ssh_never_asks_and_takes_the_operators_options_first() {
        let ssh = Ssh {
            options: vec!["ConnectTimeout=3".into()],
        };
        let arguments = ssh.script(&target("admin"), "echo \"it's $1\"", &["a b"]);
        assert_eq!(arguments[..2], ["-o", "ConnectTimeout=3"]);
        assert!(arguments.contains(&"BatchMode=yes".to_owned()));
        assert_eq!(
            arguments.last().unwrap(),
            r#"sudo -n bash -c 'echo "it'\''s $1"' photon 'a b'"#
        );
        let options = ssh.for_nix("-p 2222");
        assert!(
            options.starts_with("-p 2222 -o ConnectTimeout=3 -o BatchMode=yes"),
            "{options}"
        );
    }

    #[tokio::test]
    async fn a_missing_program_is_named_with_advice() {
        let error = ensure_program("no-such-program-here")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no-such-program-here is not on the PATH"),
            "{error}"
        );
        assert!(
            missing("nixos-rebuild")
                .to_string()
                .contains("nixos-rebuild-ng")
        );
    }

    #[tokio::test]
    async fn who_goes_back_to_a_system_that_refuses_is_told_to_reboot() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(path, mode).unwrap();
        };
        std::fs::create_dir_all(folder.path().join("new")).unwrap();
        std::os::unix::fs::symlink(at("new"), at("current-system")).unwrap();
        write("bin/systemctl", "");
        write("bin/nix-env", &format!("echo \"$@\" >> {}", at("profile")));
        write(
            "bin/systemd-run",
            "for word; do program=$last last=$word; done; exec \"$program\" \"$last\"",
        );
        let script = SWITCH_BACK
            .replace("/run/current-system", &at("current-system"))
            .replace("/nix/var/nix/profiles/", &at(""));
        let script = format!("PATH={}:$PATH\n{script}", at("bin"));
        let closure = at("old");
        let arguments = ["-c", &script, "photon", &closure, ""];

        // The error has the script too, before what it said.
        let said = async || {
            let error = process::run("bash", &arguments, b"", SHORT).await;
            let error = error.unwrap_err().to_string();
            error.rsplit_once("): ").unwrap().1.to_owned()
        };

        write(
            "old/bin/switch-to-configuration",
            "echo inhibited >&2; exit 1",
        );
        let told = said().await;
        let advice = format!("the next boot is {closure}: reboot the host");
        assert!(
            told.contains("inhibited") && told.contains(&advice),
            "{told}"
        );
        let profile = std::fs::read_to_string(at("profile")).unwrap();
        assert!(profile.contains(&format!("--set {closure}")), "{profile}");

        // Switched, and a unit of it failed: that is no reason to reboot.
        let switched = format!("ln -sfn {closure} {}; exit 4", at("current-system"));
        write("old/bin/switch-to-configuration", &switched);
        assert_eq!(said().await, "");
    }

    /// The scripts run as on a host, but for where a host keeps its profile.
    async fn previous_in(profile: &std::path::Path, wanted: &str) -> Result<String, String> {
        let script = PREVIOUS.replace(
            "/nix/var/nix/profiles/system",
            &profile.display().to_string(),
        );
        let arguments = ["-c", &script, "photon", wanted];
        let answer = process::run("bash", &arguments, b"", SHORT).await;
        let answer = answer.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(answer).unwrap())
    }

    #[tokio::test]
    async fn the_previous_generation_is_the_one_before_the_current() {
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("system");
        for number in [2, 9, 10, 11] {
            let closure = folder.path().join(format!("closure-{number}"));
            std::fs::create_dir(&closure).unwrap();
            let link = folder.path().join(format!("system-{number}-link"));
            std::os::unix::fs::symlink(closure, link).unwrap();
        }
        std::os::unix::fs::symlink("system-10-link", &profile).unwrap();
        let answer = previous_in(&profile, "").await.unwrap();
        assert!(
            answer.starts_with("9\t") && answer.contains("closure-9"),
            "{answer}"
        );
        let answer = previous_in(&profile, "11").await.unwrap();
        assert!(answer.contains("closure-11"), "{answer}");
        let error = previous_in(&profile, "3").await.unwrap_err();
        assert!(
            error.contains("there is no generation 3; there is: 2 9 10 11"),
            "{error}"
        );
        std::fs::remove_file(&profile).unwrap();
        std::os::unix::fs::symlink("system-2-link", &profile).unwrap();
        let error = previous_in(&profile, "").await.unwrap_err();
        assert!(error.contains("no generation before 2"), "{error}");
    }
}
