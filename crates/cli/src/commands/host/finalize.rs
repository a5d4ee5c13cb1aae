//! `photon host upgrade --finalize`: the end of an upgrade, from which the previous version cannot be gone back to.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::facts::Facts;
use super::health::look;
use super::remote::{Ssh, Target};
use crate::error::Failure;
use crate::output::{Column, Output, Shape, tell};

const COLUMNS: &[Column] = &[("HOST", "name"), ("SERVER", "unit"), ("RESULT", "result")];

/// Rewriting a store's records takes as long as the store is big.
const LIMIT: Duration = Duration::from_secs(900);

/// Finalizes one server's store, for which the server must be stopped, and starts it again in any case. Parameters:
/// unit, program.
const FINALIZE: &str = r#"
set -u
unit=$1 program=$2
systemctl stop "$unit" || exit 1
"$program" finalize-schema
code=$?
systemctl start "$unit" || { echo "$unit did not start again" >&2; exit 1; }
exit $code
"#;

/// The servers with a store, by unit, and their programs.
fn stores(facts: &Facts) -> Vec<(String, String)> {
    let units = facts.apis.iter().map(|api| &api.unit);
    let programs = units.filter_map(|name| Some((name, facts.units.get(name)?)));
    programs
        .map(|(name, unit)| (name.clone(), unit.program.clone()))
        .collect()
}

/// Why an upgrade is not to be ended yet.
fn objection(hosts: &[(String, Facts, Vec<String>)]) -> Option<String> {
    for (name, _, problems) in hosts {
        if let Some(problem) = problems.first() {
            return Some(format!("{name} is not healthy: {problem}"));
        }
    }
    let versions: BTreeSet<&str> = hosts
        .iter()
        .flat_map(|(_, facts, _)| facts.versions())
        .collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        return Some(format!(
            "the hosts run different versions ({}): upgrade all of them first",
            versions.join(", ")
        ));
    }
    None
}

/// Every host is looked at first; then the servers' stores are finalized one by one.
pub async fn run(ssh: &Ssh, targets: &[Target], output: &Output) -> Result<(), Failure> {
    let looks = targets.iter().map(|target| look(ssh, target));
    let looks = futures::future::join_all(looks).await;
    let mut hosts = Vec::new();
    for (target, look) in targets.iter().zip(looks) {
        let look = look.map_err(|reason| Failure::Local(format!("{}: {reason}", target.name)))?;
        let problems = look.problems(None);
        hosts.push((target.name.clone(), look.facts, problems));
    }
    if let Some(reason) = objection(&hosts) {
        return Err(Failure::Local(format!("nothing was finalized: {reason}")));
    }
    let mut rows = Vec::new();
    for (target, (name, facts, _)) in targets.iter().zip(&hosts) {
        for (unit, program) in stores(facts) {
            tell!("{name}: finalizing the store of {unit}");
            let said = ssh
                .output(target, FINALIZE, &[&unit, &program], LIMIT)
                .await;
            let said = said.map_err(|reason| {
                Failure::Local(format!(
                    "the store of {unit} on {name} was not finalized: {reason}\n\
                     Those before it are; the same command goes on with it."
                ))
            })?;
            rows.push(json!({"name": name, "unit": unit, "result": said.trim()}));
        }
    }
    output.rows(rows, COLUMNS, &Shape::default(), None)
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::ANSWER;
    use super::*;

    fn host(name: &str, version: &str) -> (String, Facts, Vec<String>) {
        let answer = ANSWER.replace("iam-server 0.1.0", &format!("iam-server {version}"));
        (name.into(), Facts::parse(&answer).unwrap(), Vec::new())
    }

    #[test]
    fn an_upgrade_under_way_is_not_ended() {
        assert_eq!(objection(&[host("a", "0.2.0"), host("b", "0.2.0")]), None);
        let reason = objection(&[host("a", "0.2.0"), host("b", "0.1.0")]).unwrap();
        assert!(reason.contains("0.1.0, 0.2.0"), "{reason}");
        let mut bad = host("a", "0.2.0");
        bad.2.push("iam-server.service is failed".into());
        assert!(objection(&[bad]).unwrap().contains("a is not healthy"));
    }

    #[test]
    fn every_server_of_the_host_is_finalized_by_its_own_program() {
        let (_, facts, _) = host("a", "0.2.0");
        let program = "/nix/store/ppp-photoncloud-0.2.0/bin/iam-server";
        assert_eq!(
            stores(&facts),
            [("iam-server.service".into(), program.into())]
        );
    }
}
