//! Any daemon, or all of them, may die at any moment; the power may fail. Guests and acknowledged writes do
//! not notice.

use photon_api::prismnet::v1::{CreatePortRequest, GetPortRequest};
use photon_e2e::Session;
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use tokio::time::Instant;
use tonic::Code;
use xtask::photoncloud;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{BOOT, Cloud, Machine, Tenant};
use crate::pings::{RATE, longest_silence, start_pinging};

const DAEMONS: [&str; 7] = [
    "iam-server",
    "prismnet-server",
    "plasmavmc-server",
    "prismnet-agent",
    "plasmavmc-agent",
    "flashdns-server",
    "flashdns-agent",
];

async fn kill(host: &Host, daemons: &[&str]) {
    let units: Vec<String> = daemons
        .iter()
        .map(|daemon| format!("{daemon}.service"))
        .collect();
    host.check(&format!(
        "systemctl kill --signal=KILL --kill-whom=main {}",
        units.join(" ")
    ))
    .await
    .unwrap();
}

/// The boot of every VM's process, by unit: another one means that the VM was restarted.
pub async fn incarnations(host: &Host) -> String {
    host.check(
        "systemctl list-units --plain --no-legend 'photon-vm-*.service' | cut -d' ' -f1 | sort | \
         while read unit; do echo $unit $(systemctl show -P InvocationID -P MainPID $unit); done",
    )
    .await
    .unwrap()
}

/// Waits until an agent would change nothing.
pub async fn nothing_to_do(host: &Host, agent: &str) {
    let deadline = Instant::now() + 60 * SECOND;
    loop {
        let report = host
            .run(&format!("/usr/lib/photoncloud/bin/{agent} plan --once"))
            .await
            .unwrap();
        let plan: serde_json::Value = serde_json::from_str(&report.stdout)
            .unwrap_or_else(|error| panic!("{agent} plan: {error}: {report:?}"));
        let empty = plan
            .get("empty")
            // The revision that it was made for says nothing about what is to be done.
            .map_or_else(
                || is_nothing(plan.get("steps").unwrap_or(&plan)),
                |empty| *empty == true,
            );
        if empty {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{agent} still wants to do something: {plan:#}"
        );
        tokio::time::sleep(SECOND / 2).await;
    }
}

fn is_nothing(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(items) => items.is_empty(),
        serde_json::Value::Object(fields) => fields.values().all(is_nothing),
        serde_json::Value::Null | serde_json::Value::Bool(false) => true,
        _ => false,
    }
}

/// Makes ports until told to stop; what was acknowledged, and the last refusal.
async fn write(
    session: Session,
    subnet: String,
    name: String,
    until: Instant,
) -> (Vec<String>, Option<tonic::Status>) {
    let mut acknowledged = Vec::new();
    let mut refusal = None;
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        let request = CreatePortRequest {
            org_id: session.org.clone(),
            project_id: session.project.clone(),
            subnet_id: subnet.clone(),
            name: format!("{name}-{number}"),
            request_id: format!("{name}-{number}"),
            ..Default::default()
        };
        match session.ports().create_port(request).await {
            Ok(answer) => acknowledged.push(answer.into_inner().port.unwrap().id),
            Err(status) => refusal = Some(status),
        }
        // A few hundred show as much as thousands, and are sooner asked for again.
        tokio::time::sleep(SECOND / 20).await;
    }
    (acknowledged, refusal)
}

pub async fn all_there(session: &Session, ids: &[String]) {
    for id in ids {
        let request = GetPortRequest {
            id: id.clone(),
            ..Default::default()
        };
        let answer = session.ports().get_port(request).await;
        let lost = answer
            .as_ref()
            .is_err_and(|status| status.code() == Code::NotFound);
        assert!(!lost, "the acknowledged port {id} is lost");
        answer.unwrap();
    }
}

pub struct Pair {
    pub tenant: Tenant,
    pub first: Machine,
    pub second: Machine,
}

impl Pair {
    /// The first one's console, opened anew: sessions end with the servers.
    pub async fn console(&self) -> Guest<Console> {
        let deadline = Instant::now() + 60 * SECOND;
        loop {
            match self.tenant.session.guest(&self.first.vm).await {
                Ok(mut guest) => match guest.ready(20 * SECOND).await {
                    Ok(()) => return guest,
                    Err(error) => assert!(
                        Instant::now() < deadline,
                        "the console does not answer: {error:#}"
                    ),
                },
                Err(error) => assert!(Instant::now() < deadline, "no console: {error:#}"),
            }
            tokio::time::sleep(SECOND / 2).await;
        }
    }
}

#[tokio::test]
async fn daemons_die_and_the_power_fails_while_guests_run() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let tenant = cloud.tenant("acme").await;
    let first = tenant.machine("vm1", "10.0.1.10").await;
    let second = tenant.machine("vm2", "10.0.1.11").await;
    let mut guest = tenant.guest(&first).await;
    tenant.guest(&second).await;
    let pair = Pair {
        tenant,
        first,
        second,
    };
    let before = incarnations(&host).await;
    assert_eq!(before.lines().count(), 2, "{before}");

    // Each daemon in turn, then all at once, while ports are being made.
    start_pinging(&mut guest, &pair.second.port.ip_address).await;
    drop(guest);
    // Wide enough for all that is made in six rounds: the guests' own would be full by then.
    let crowd = pair
        .tenant
        .session
        .create_subnet(&pair.tenant.vpc, "crowd", "10.0.128.0/17", "10.0.128.1")
        .await
        .unwrap();
    let subnet = crowd.id;
    let mut acknowledged = Vec::new();
    let rounds = DAEMONS
        .iter()
        .map(|daemon| vec![*daemon])
        .chain([DAEMONS.to_vec()]);
    for (number, daemons) in rounds.enumerate() {
        let until = Instant::now() + 6 * SECOND;
        let writer = tokio::spawn(write(
            pair.tenant.session.clone(),
            subnet.clone(),
            format!("round{number}"),
            until,
        ));
        tokio::time::sleep(SECOND).await;
        kill(&host, &daemons).await;
        let (made, refusal) = writer.await.unwrap();
        assert!(
            !made.is_empty(),
            "nothing was acknowledged while {daemons:?} died; the last refusal: {refusal:?}"
        );
        acknowledged.extend(made);
        photoncloud::wait_until_active(&host).await.unwrap();
    }
    all_there(&pair.tenant.session, &acknowledged).await;
    for agent in ["prismnet-agent", "plasmavmc-agent"] {
        nothing_to_do(&host, agent).await;
    }
    assert_eq!(incarnations(&host).await, before, "a VM was restarted");
    let mut guest = pair.console().await;
    let (answers, silence) = longest_silence(&mut guest).await;
    eprintln!(
        "{} ports acknowledged, {answers} pings answered, longest silence {silence:?}",
        acknowledged.len()
    );
    assert!(
        answers > 10 * RATE,
        "only {answers} pings were answered: the test saw too little"
    );
    assert!(silence <= SECOND, "pings were lost for {silence:?}");
    drop(guest);

    // The power fails while ports are being made: after boot, networks and VMs are back without help.
    let until = Instant::now() + 4 * SECOND;
    let writer = tokio::spawn(write(
        pair.tenant.session.clone(),
        subnet,
        "power".into(),
        until,
    ));
    tokio::time::sleep(2 * SECOND).await;
    host.power_cut().await.unwrap();
    acknowledged.extend(writer.await.unwrap().0);
    host.boot().await.unwrap();
    photoncloud::wait_until_active(&host).await.unwrap();
    let mut guest = pair.console().await;
    guest.lease(BOOT).await.unwrap();
    let deadline = Instant::now() + BOOT;
    let ping = format!("ping -c 1 -W 2 {} >/dev/null", pair.second.port.ip_address);
    while guest.run(&ping, 30 * SECOND).await.unwrap().0 != 0 {
        assert!(Instant::now() < deadline, "the peer did not come back");
    }
    all_there(&pair.tenant.session, &acknowledged).await;
    for agent in ["prismnet-agent", "plasmavmc-agent"] {
        nothing_to_do(&host, agent).await;
    }
}
