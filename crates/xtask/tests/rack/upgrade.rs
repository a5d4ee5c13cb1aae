//! Another version is switched in, and back, while tenants use the cloud.

mod generation;
mod operator;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use photon_api::prismnet::v1::CreatePortRequest;
use photon_e2e::Session;
use tokio::time::Instant;
use xtask::photoncloud;
use xtask::photoncloud::programs::Programs;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::Cloud;
use crate::faults::{Pair, all_there, incarnations, nothing_to_do};
use crate::pings::{RATE, longest_silence, start_pinging};
use generation::{Closure, running};

/// What may be asked of an upgrade (issue: API interruption under 5 s).
const INTERRUPTION: Duration = Duration::from_secs(5);

/// What the newer version's units say besides where their programs are.
fn with_more_files(_unit: &str, text: String) -> String {
    text.replace("LimitNOFILE=65536", "LimitNOFILE=131072")
}

/// Makes ports until it is told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Written>,
}

#[derive(Default)]
struct Written {
    acknowledged: Vec<String>,
    /// The longest time from one acknowledgement to the next.
    interruption: Duration,
    refusals: BTreeSet<String>,
}

impl Writer {
    fn start(session: Session, subnet: String, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut written = Written::default();
            let mut last = Instant::now();
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
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
                    Ok(answer) => {
                        written.interruption = written.interruption.max(last.elapsed());
                        last = Instant::now();
                        let port = answer.into_inner().port.unwrap();
                        written.acknowledged.push(port.id);
                    }
                    Err(status) => drop(written.refusals.insert(format!(
                        "{:?}: {}",
                        status.code(),
                        status.message()
                    ))),
                }
                tokio::time::sleep(SECOND / 20).await;
            }
            // What never came back is an interruption, too.
            written.interruption = written.interruption.max(last.elapsed());
            written
        });
        Writer { stop, task }
    }

    async fn finish(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Every program is the closure's, by path and by content another file than `other` ran.
async fn runs(host: &Host, closure: &Closure, other: &[(String, String, String)]) {
    for (unit, path, digest) in running(host).await {
        assert_eq!(path, format!("{}/{unit}", closure.programs));
        let (_, _, earlier) = other.iter().find(|(name, _, _)| *name == unit).unwrap();
        assert_ne!(digest, *earlier, "{unit} is the same file as before");
    }
}

async fn open_files(host: &Host, unit: &str) -> String {
    let limit = host
        .check(&format!(
            "awk '/Max open files/ {{print $4}}' /proc/$(systemctl show -P MainPID {unit})/limits"
        ))
        .await
        .unwrap();
    limit.trim().to_owned()
}

/// The newer version is the same source, built into other files (their content differs by a section that names the
/// version, their path by the store directory), with unit files that name those and allow more open files: what a
/// generation switch changes on a host, whatever changed in the source. So both have one schema of stores; what a program
/// does with a newer one's is shown at the end with a store that is marked so.
#[tokio::test]
async fn an_upgrade_and_its_rollback_leave_guests_and_writes_alone() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let programs = tokio::task::spawn_blocking(Programs::ensure);
    let programs = programs.await.unwrap().unwrap();
    let old = Closure::build(&host, &programs, "1", |_, text| text);
    let new = Closure::build(&host, &programs, "2", with_more_files);
    let installed = running(&host).await;
    generation::prepare(&host).await;
    generation::switch(&host, &old).await;
    photoncloud::wait_until_active(&host).await.unwrap();
    runs(&host, &old, &installed).await;

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
    let crowd = pair
        .tenant
        .session
        .create_subnet(&pair.tenant.vpc, "crowd", "10.0.128.0/17", "10.0.128.1")
        .await
        .unwrap();
    let before = incarnations(&host).await;
    assert_eq!(before.lines().count(), 2, "{before}");

    for (name, closure, limit) in [("upgrade", &new, "131072"), ("rollback", &old, "65536")] {
        start_pinging(&mut guest, &pair.second.port.ip_address).await;
        drop(guest);
        let previously = running(&host).await;
        let writer = Writer::start(pair.tenant.session.clone(), crowd.id.clone(), name);
        tokio::time::sleep(2 * SECOND).await;
        let begun = Instant::now();
        generation::switch(&host, closure).await;
        let took = begun.elapsed();
        photoncloud::wait_until_active(&host).await.unwrap();
        tokio::time::sleep(2 * SECOND).await;
        let written = writer.finish().await;

        runs(&host, closure, &previously).await;
        assert_eq!(open_files(&host, "prismnet-server").await, limit);
        assert_eq!(incarnations(&host).await, before, "a VM was restarted");
        all_there(&pair.tenant.session, &written.acknowledged).await;
        for agent in ["prismnet-agent", "plasmavmc-agent"] {
            nothing_to_do(&host, agent).await;
        }
        guest = pair.console().await;
        let (answers, silence) = longest_silence(&mut guest).await;
        eprintln!(
            "{name}: switched in {took:.1?}; API interrupted for {:.2?}; {} writes acknowledged, all there; \
             {answers} pings answered, longest silence {silence:?}",
            written.interruption,
            written.acknowledged.len(),
        );
        assert!(
            written.acknowledged.len() > 20,
            "too few writes: {:?}",
            written.refusals
        );
        assert!(
            written.interruption < INTERRUPTION,
            "the API was away for {:?}: {:?}",
            written.interruption,
            written.refusals
        );
        assert!(answers > 4 * RATE, "only {answers} pings were answered");
        assert!(silence <= SECOND, "pings were lost for {silence:?}");
    }
    refuses_a_newer_store(&host).await;
    assert_eq!(incarnations(&host).await, before, "a VM was restarted");
}

/// The way back from a finalized upgrade is barred: the server says so, and touches nothing. (That it runs on a store of
/// the schema before its own is in FlareDB's tests: there is no released one yet.)
async fn refuses_a_newer_store(host: &Host) {
    let store = "/var/lib/photoncloud/prismnet/flaredb.sqlite";
    let marked = |schema: u32| format!("sqlite3 {store} 'PRAGMA user_version = {schema}'");
    let own = host
        .check(&format!("sqlite3 {store} 'PRAGMA user_version'"))
        .await
        .unwrap();
    let own: u32 = own.trim().parse().unwrap();
    let refusal = format!(
        "the store {store} has schema {}, but this program knows schemas up to {own}",
        own + 1
    );
    host.check(&format!(
        "systemctl stop prismnet-server && {} && systemctl start --no-block prismnet-server",
        marked(own + 1)
    ))
    .await
    .unwrap();
    let deadline = Instant::now() + 60 * SECOND;
    loop {
        let log = host
            .check("journalctl --no-pager -o cat -n 50 -u prismnet-server")
            .await
            .unwrap();
        if log.contains(&refusal) {
            break;
        }
        assert!(Instant::now() < deadline, "no '{refusal}' in:\n{log}");
        tokio::time::sleep(SECOND / 2).await;
    }
    host.check(&marked(own)).await.unwrap();
    // It has never given up: with a store that it knows it is back by itself.
    photoncloud::wait_until_active(host).await.unwrap();
}
