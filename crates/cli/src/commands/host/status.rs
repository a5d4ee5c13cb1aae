//! `photon host status`

use clap::Args;
use serde_json::{Value, json};

use super::health::{Look, look};
use super::inventory::{Hosts, flake_here};
use super::remote::Target;
use crate::error::Failure;
use crate::output::{Column, Output, Shape};

const COLUMNS: &[Column] = &[
    ("HOST", "name"),
    ("HEALTHY", "healthy"),
    ("GENERATION", "generation"),
    ("NIXOS", "nixos"),
    ("PHOTONCLOUD", "photoncloud"),
    ("KERNEL", "kernel"),
    ("REBOOT NEEDED", "reboot_needed"),
    ("VMS", "vms"),
    ("CERTIFICATE ENDS", "certificate_until"),
    ("PROBLEMS", "problems"),
];

/// `photon host status`
#[derive(Args, Clone, Debug)]
pub struct Status {
    #[command(flatten)]
    hosts: Hosts,
    /// The flake that has the hosts. Default: the one of the current directory, if there is one.
    #[arg(long, value_name = "REF", env = "PHOTON_FLAKE")]
    flake: Option<String>,
}

/// Shows all hosts, asked at once; fails when one is not healthy, after showing all.
pub async fn run(args: Status, output: &Output) -> Result<(), Failure> {
    let flake = flake_here(args.flake);
    let targets = args.hosts.find(flake.as_deref()).await?;
    let ssh = args.hosts.ssh();
    let looks = targets.iter().map(|target| look(&ssh, target));
    let looks = futures::future::join_all(looks).await;
    let rows: Vec<Value> = targets
        .iter()
        .zip(&looks)
        .map(|(target, look)| row(target, look))
        .collect();
    let bad = rows.iter().filter(|row| row["healthy"] != true).count();
    let all = rows.len();
    output.rows(rows, COLUMNS, &Shape::default(), None)?;
    if bad == 0 {
        Ok(())
    } else {
        Err(Failure::Local(format!(
            "{bad} of {all} hosts are not healthy"
        )))
    }
}

fn row(target: &Target, look: &Result<Look, String>) -> Value {
    let look = match look {
        Ok(look) => look,
        Err(reason) => {
            return json!({
                "name": target.name,
                "target": target.login(),
                "healthy": false,
                "problems": [reason],
            });
        }
    };
    let facts = &look.facts;
    let problems = look.problems(None);
    let apis: Vec<Value> = facts
        .apis
        .iter()
        .map(|api| {
            let wrong = look.unanswered.iter().find(|(unit, _)| *unit == api.unit);
            json!({
                "unit": api.unit,
                "address": api.address.to_string(),
                "tls": api.tls,
                "serving": wrong.is_none(),
                "reason": wrong.map(|(_, reason)| reason.as_str()).unwrap_or_default(),
            })
        })
        .collect();
    json!({
        "name": target.name,
        "target": target.login(),
        "hostname": facts.hostname,
        "healthy": problems.is_empty(),
        "control_plane": facts.is_control_plane(),
        "generation": facts.generation,
        "closure": facts.closure,
        "next_boot": facts.profile,
        "nixos": facts.nixos,
        "photoncloud": facts.versions(),
        "kernel": facts.kernel,
        "reboot_needed": facts.reboot_needed,
        "failed_units": facts.failed,
        "vms": facts.vms.len(),
        "apis": apis,
        "certificate_until": certificate_end(&facts.certificate),
        "problems": problems,
    })
}

/// When the host's certificate ends (RFC 3339); nothing if it has none.
fn certificate_end(pem: &str) -> Option<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let end = pem.parse_x509().ok()?.validity().not_after.timestamp();
    Some(jiff::Timestamp::from_second(end).ok()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::facts::Facts;
    use super::super::facts::tests::ANSWER;
    use super::*;

    fn target() -> Target {
        Target {
            name: "node01".into(),
            user: "root".into(),
            address: "192.0.2.1".into(),
        }
    }

    #[test]
    fn a_row_has_what_the_host_said() {
        let look = Look {
            facts: Facts::parse(ANSWER).unwrap(),
            unanswered: vec![("iam-server.service".into(), "refused".into())],
        };
        let row = row(&target(), &Ok(look));
        assert_eq!(row["healthy"], false);
        assert_eq!(row["generation"], 12);
        assert_eq!(row["photoncloud"][0], "0.1.0");
        assert_eq!(row["reboot_needed"], true);
        assert_eq!(row["vms"], 1);
        assert_eq!(row["apis"][0]["serving"], false);
        for (_, field) in COLUMNS {
            assert!(
                !row[field].is_null() || *field == "certificate_until",
                "{field}"
            );
        }
    }

    #[test]
    fn a_host_that_cannot_be_asked_has_its_reason() {
        let row = row(&target(), &Err("ssh to root@192.0.2.1 failed".into()));
        assert_eq!(row["healthy"], false);
        assert!(row["problems"][0].as_str().unwrap().contains("ssh"));
    }

    #[test]
    fn a_certificates_end_is_read() {
        let mut parameters = rcgen::CertificateParams::new(vec!["node01".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        assert_eq!(certificate_end(&pem).unwrap(), "2031-02-03T00:00:00Z");
        assert_eq!(certificate_end(""), None);
    }
}
