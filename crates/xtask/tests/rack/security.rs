//! How exposed the units are, by systemd's own measure (systemd-analyze(1), `security`).

use xtask::rack::Host;

use crate::cloud::Cloud;

/// Targets of docs/architecture.md: 0 is locked away, 10 wide open.
const DAEMON: f64 = 2.5;
const VM: f64 = 2.0;

const DAEMONS: [&str; 6] = [
    "iam-server.service",
    "prismnet-server.service",
    "plasmavmc-server.service",
    "prismnet-agent.service",
    "plasmavmc-agent.service",
    "plasmavmc-metadata.service",
];

async fn exposure(host: &Host, unit: &str) -> f64 {
    let report = host
        .check(&format!("systemd-analyze security --no-pager {unit}"))
        .await
        .unwrap();
    let line = report
        .lines()
        .rfind(|line| line.contains("Overall exposure level"))
        .expect("a conclusion");
    let level = line
        .rsplit(": ")
        .next()
        .and_then(|rest| rest.split(' ').next())
        .expect("a level");
    level.parse().expect("a number")
}

#[tokio::test]
async fn units_are_as_locked_down_as_promised() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let acme = cloud.tenant("acme").await;
    let machine = acme.machine("web-1", "10.0.1.10").await;
    acme.guest(&machine).await;

    let mut wrong = Vec::new();
    let vm = format!("photon-vm-{}.service", machine.vm.id);
    for (unit, most) in DAEMONS
        .iter()
        .map(|unit| (*unit, DAEMON))
        .chain([(vm.as_str(), VM)])
    {
        let exposure = exposure(&host, unit).await;
        eprintln!("{unit}: {exposure}");
        if exposure > most {
            wrong.push(format!("{unit}: {exposure}, at most {most}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));

    // Each VM is a user of its own, in its tenant's slice, and has no capability.
    let state = host
        .check(&format!(
            "systemctl show -P User -P Slice -P CapabilityBoundingSet -P NoNewPrivileges {vm}"
        ))
        .await
        .unwrap();
    assert!(
        state.contains("pvm-") && state.contains("photon-tenants") && state.contains("yes"),
        "{state}"
    );
    let root = host
        .check(&format!("ps -o uid= -p $(systemctl show -P MainPID {vm})"))
        .await
        .unwrap();
    assert!(root.trim().parse::<u32>().unwrap() >= 0x6000_0000, "{root}");
    // Secrets are for those whom they concern.
    host.check("[ $(stat -c %a /var/lib/photoncloud/credentials/operator-password) = 600 ]")
        .await
        .unwrap();
}
