//! Which hosts, and where they are.

use std::collections::BTreeMap;

use clap::Args;

use super::remote::{self, Ssh, Target};
use crate::error::Failure;

/// Which hosts, and how to reach them.
#[derive(Args, Clone, Debug)]
pub struct Hosts {
    /// Hosts by their names in the flake (`nixosConfigurations`). Default: all of the flake's.
    #[arg(value_name = "HOST")]
    names: Vec<String>,
    /// Reach a host there: NAME=USER@ADDRESS or NAME=ADDRESS; can be repeated. Default: root at the address that the
    /// flake gives it (`photoncloud.cluster.nodes.NAME.address`), else at its name.
    #[arg(long = "target", value_name = "NAME=USER@ADDRESS", value_parser = parse_target)]
    targets: Vec<Target>,
    /// An option for ssh, as its `-o` takes it (`IdentityFile=...`, `Port=...`); can be repeated.
    #[arg(long = "ssh-option", value_name = "OPTION", value_parser = parse_option)]
    ssh_options: Vec<String>,
}

/// `node02=admin@192.0.2.2`
fn parse_target(text: &str) -> Result<Target, String> {
    let wrong = || "expected NAME=USER@ADDRESS, such as node02=root@192.0.2.2".to_owned();
    let (name, login) = text.split_once('=').ok_or_else(wrong)?;
    let (user, address) = login.rsplit_once('@').unwrap_or(("root", login));
    check_name(name)?;
    if user.is_empty() || address.is_empty() || login.starts_with('-') {
        return Err(wrong());
    }
    Ok(Target {
        name: name.to_owned(),
        user: user.to_owned(),
        address: address.to_owned(),
    })
}

/// A host's name, which becomes part of command lines and of a Nix expression.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(plain) {
        return Err(format!(
            "'{name}' is no host's name: use letters, digits, '-', '_' and '.'"
        ));
    }
    Ok(())
}

fn parse_option(text: &str) -> Result<String, String> {
    // Nix takes $NIX_SSHOPTS apart at spaces, whatever quotes are in it.
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(
            "expected OPTION=VALUE without spaces, such as IdentityFile=/root/rack-key".into(),
        );
    }
    Ok(text.to_owned())
}

/// What the flake says of its hosts: names, with addresses where it gives them.
pub type Known = BTreeMap<String, Option<String>>;

impl Hosts {
    pub fn ssh(&self) -> Ssh {
        Ssh {
            options: self.ssh_options.clone(),
        }
    }

    /// The hosts in the order named, else by name. Asks the flake only for what the command line does not say.
    pub async fn find(&self, flake: Option<&str>) -> Result<Vec<Target>, Failure> {
        for name in &self.names {
            check_name(name).map_err(Failure::Local)?;
        }
        remote::ensure_program("ssh")?;
        let given = |name: &String| self.targets.iter().any(|target| target.name == *name);
        let known = match flake {
            Some(flake) if self.names.is_empty() || !self.names.iter().all(given) => {
                Some(ask(flake, &self.names).await?)
            }
            _ => None,
        };
        resolve(&self.names, &self.targets, flake, known.as_ref()).map_err(Failure::Local)
    }
}

/// Puts together what the command line and the flake say.
fn resolve(
    names: &[String],
    targets: &[Target],
    flake: Option<&str>,
    known: Option<&Known>,
) -> Result<Vec<Target>, String> {
    let names: Vec<String> = match (names, known) {
        ([], Some(known)) => known.keys().cloned().collect(),
        ([], None) if targets.is_empty() => {
            return Err(
                "no host is named: name hosts, or give a flake that has them (`--flake REF`, or run it beside a \
                 flake.nix)"
                    .to_owned(),
            );
        }
        ([], None) => targets.iter().map(|target| target.name.clone()).collect(),
        (names, _) => names.to_vec(),
    };
    let mut found: Vec<Target> = Vec::new();
    for name in names {
        if found.iter().any(|target| target.name == name) {
            return Err(format!("the host {name} is named twice"));
        }
        if let Some(target) = targets.iter().find(|target| target.name == name) {
            found.push(target.clone());
            continue;
        }
        let address = match known {
            None => None,
            Some(known) => match known.get(&name) {
                Some(address) => address.clone(),
                None => {
                    let there: Vec<&str> = known.keys().map(String::as_str).collect();
                    return Err(format!(
                        "the flake {} has no host '{name}'; it has: {}",
                        flake.unwrap_or_default(),
                        there.join(", ")
                    ));
                }
            },
        };
        found.push(Target {
            address: address.unwrap_or_else(|| name.clone()),
            name,
            user: "root".to_owned(),
        });
    }
    let unused = targets.iter().find(|target| !found.contains(target));
    if let Some(target) = unused {
        return Err(format!(
            "--target {}=... is for a host that this command is not about",
            target.name
        ));
    }
    Ok(found)
}

/// Addresses are asked for only of the hosts that are wanted: each costs the evaluation of its configuration.
fn question(names: &[String]) -> String {
    let wanted = if names.is_empty() {
        "(name: true)".to_owned()
    } else {
        // The names hold nothing that a Nix string would take for something else.
        let list: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        format!("(name: builtins.elem name [ {} ])", list.join(" "))
    };
    format!(
        "builtins.mapAttrs (name: host: if {wanted} name \
         then host.config.photoncloud.cluster.nodes.${{name}}.address or null else null)"
    )
}

async fn ask(flake: &str, names: &[String]) -> Result<Known, Failure> {
    let installable = format!("{flake}#nixosConfigurations");
    let answer = remote::nix_eval(&installable, &question(names)).await?;
    serde_json::from_value(answer).map_err(|error| {
        Failure::Local(format!("the hosts of {flake} are not understood: {error}"))
    })
}

/// The flake to use: the one given, else the one of the current directory, if there is one.
pub fn flake_here(given: Option<String>) -> Option<String> {
    given.or_else(|| {
        std::path::Path::new("flake.nix")
            .is_file()
            .then(|| ".".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        [("node01", Some("192.0.2.1")), ("node02", None)]
            .into_iter()
            .map(|(name, address)| (name.to_owned(), address.map(str::to_owned)))
            .collect()
    }

    fn logins(targets: &[Target]) -> Vec<String> {
        targets.iter().map(Target::login).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn hosts_come_from_the_flake_with_their_addresses() {
        let found = resolve(&[], &[], Some("."), Some(&known())).unwrap();
        assert_eq!(logins(&found), ["root@192.0.2.1", "root@node02"]);
        let target = parse_target("node02=admin@198.51.100.7").unwrap();
        let found = resolve(&names(&["node02"]), &[target], Some("."), Some(&known())).unwrap();
        assert_eq!(logins(&found), ["admin@198.51.100.7"]);
    }

    #[test]
    fn hosts_may_come_from_the_command_line_alone() {
        let found = resolve(&names(&["a"]), &[], None, None).unwrap();
        assert_eq!(logins(&found), ["root@a"]);
        let target = parse_target("b=192.0.2.9").unwrap();
        let found = resolve(&[], &[target], None, None).unwrap();
        assert_eq!(logins(&found), ["root@192.0.2.9"]);
        let error = resolve(&[], &[], None, None).unwrap_err();
        assert!(error.contains("--flake"), "{error}");
    }

    #[test]
    fn a_host_that_is_not_there_is_refused() {
        let error = resolve(&names(&["node9"]), &[], Some("."), Some(&known())).unwrap_err();
        assert!(
            error.contains("no host 'node9'; it has: node01, node02"),
            "{error}"
        );
        let error = resolve(&names(&["a", "a"]), &[], None, None).unwrap_err();
        assert!(error.contains("named twice"), "{error}");
        let target = parse_target("b=192.0.2.9").unwrap();
        let error = resolve(&names(&["a"]), &[target], None, None).unwrap_err();
        assert!(error.contains("--target b=..."), "{error}");
    }

    #[test]
    fn what_would_be_another_command_is_refused() {
        assert!(parse_target("node02").is_err());
        assert!(parse_target("node02=-oProxyCommand=x").is_err());
        assert!(parse_target("a b=root@c").is_err());
        assert!(check_name("-x").is_err());
        assert!(check_name("a\"b").is_err());
        assert!(parse_option("IdentityFile=/a b").is_err());
    }

    #[test]
    fn only_wanted_hosts_are_evaluated() {
        let question = question(&names(&["node02"]));
        assert!(
            question.contains("builtins.elem name [ \"node02\" ]"),
            "{question}"
        );
    }
}
