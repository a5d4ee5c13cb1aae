//! Many ports come to a host at once: networkd gets them in steps that it can take, and the guests that were there
//! before notice nothing.

use photon_api::prismnet::v1::{
    AttachPortRequest, DetachPortRequest, DeviceType, PortStatus, Subnet,
};
use photon_e2e::Session;
use tokio::task::JoinSet;
use tokio::time::Instant;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{Cloud, Tenant};
use crate::pings::{RATE, longest_silence, start_pinging};

/// More than two steps of prismnet-agent. `PHOTON_SCALE_PORTS` may say otherwise.
const PORTS: usize = 300;
/// That one subnet of the guests' own network gets, beside the guests.
const BESIDE: usize = 60;
const AT_ONCE: usize = 16;

async fn attached(tenant: &Session, operator: &Session, subnet: &Subnet, name: &str) -> String {
    let port = tenant.create_port(subnet, name, "").await.unwrap();
    let request = AttachPortRequest {
        id: port.id.clone(),
        // Any UUID will do for a machine that is not there; the port's own is at hand.
        device_id: port.id.clone(),
        device_type: DeviceType::Vm.into(),
        node: "h1".to_owned(),
        ..Default::default()
    };
    operator.ports().attach_port(request).await.unwrap();
    port.id
}

async fn attach_ports(cloud: &Cloud, tenant: &Tenant, crowd: &Subnet, ports: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut work = JoinSet::new();
    for number in 0..ports {
        while work.len() >= AT_ONCE {
            ids.push(work.join_next().await.unwrap().unwrap());
        }
        let (session, operator) = (tenant.session.clone(), cloud.operator.clone());
        let subnet = if number < BESIDE {
            &tenant.subnet
        } else {
            crowd
        }
        .clone();
        let name = format!("crowd-{number}");
        work.spawn(async move { attached(&session, &operator, &subnet, &name).await });
    }
    while let Some(id) = work.join_next().await {
        ids.push(id.unwrap());
    }
    ids
}

/// Waits until so many TAPs are in their bridges and prismnet-agent has nothing to do.
async fn converge(host: &Host, taps: usize) {
    let look = "echo $(ip -o link show type tun | grep -c 'pt.* master pb') \
                $(systemctl show -P StatusText prismnet-agent)";
    let limit = 30 * SECOND + SECOND / 4 * u32::try_from(taps).unwrap();
    let begun = Instant::now();
    loop {
        let printed = host.check(look).await.unwrap();
        let (there, status) = printed.trim().split_once(' ').unwrap_or_default();
        if there == taps.to_string() && status == "nothing to do" {
            return;
        }
        assert!(
            begun.elapsed() < limit,
            "after {limit:?} {there} of {taps} TAPs are in their bridges; prismnet-agent: {status}\n{}",
            host.check(
                "journalctl -o cat --no-pager -n 40 -u prismnet-agent -u systemd-networkd; \
                 networkctl --no-pager --no-legend | grep failed"
            )
            .await
            .unwrap_or_default()
        );
        tokio::time::sleep(SECOND / 2).await;
    }
}

#[tokio::test]
async fn hundreds_of_ports_come_at_once_and_guests_do_not_notice() {
    let ports = std::env::var("PHOTON_SCALE_PORTS").map_or(PORTS, |text| text.parse().unwrap());
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let tenant = cloud.tenant("acme").await;
    let first = tenant.machine("vm1", "10.0.1.10").await;
    let second = tenant.machine("vm2", "10.0.1.11").await;
    let mut guest = tenant.guest(&first).await;
    tenant.guest(&second).await;
    let crowd = tenant
        .session
        .create_subnet(&tenant.vpc, "crowd", "10.0.128.0/17", "10.0.128.1")
        .await
        .unwrap();

    // The agent hears of all of them in one message.
    host.check("systemctl stop prismnet-agent").await.unwrap();
    let ids = attach_ports(&cloud, &tenant, &crowd, ports).await;
    start_pinging(&mut guest, &second.port.ip_address).await;
    let begun = Instant::now();
    host.check("systemctl start --no-block prismnet-agent")
        .await
        .unwrap();
    converge(&host, ports + 2).await;
    let took = begun.elapsed();
    let (answers, silence) = longest_silence(&mut guest).await;
    let steps = host
        .check("journalctl -o cat --no-pager -u prismnet-agent | grep -o '[0-9]* written in [0-9]* steps'")
        .await
        .unwrap();
    eprintln!(
        "{ports} ports after {:.1} s ({}); {answers} pings answered, longest silence {silence:?}",
        took.as_secs_f64(),
        steps.trim().replace('\n', ", ")
    );
    assert!(
        answers > RATE * u32::try_from(took.as_secs()).unwrap() / 2,
        "only {answers} pings were answered: the test saw too little"
    );
    assert!(silence <= SECOND, "pings were lost for {silence:?}");

    // networkd is content with what it made, and the owner is told so.
    let failed = "networkctl --no-pager --no-legend | grep -w failed";
    let failed = host.run(failed).await.unwrap();
    assert_eq!(failed.stdout, "", "networkd reports interfaces as failed");
    for id in ids.iter().step_by(ports / 10) {
        tenant.wait_for_port(id, PortStatus::Active).await;
    }

    // And they go together, too.
    host.check("systemctl stop prismnet-agent").await.unwrap();
    for id in ids {
        let request = DetachPortRequest {
            id,
            ..Default::default()
        };
        cloud.operator.ports().detach_port(request).await.unwrap();
    }
    start_pinging(&mut guest, &second.port.ip_address).await;
    let begun = Instant::now();
    host.check("systemctl start --no-block prismnet-agent")
        .await
        .unwrap();
    converge(&host, 2).await;
    let took = begun.elapsed();
    let (answers, silence) = longest_silence(&mut guest).await;
    eprintln!(
        "gone after {:.1} s; {answers} pings answered, longest silence {silence:?}",
        took.as_secs_f64()
    );
    assert!(
        answers > 0 && silence <= SECOND,
        "pings were lost for {silence:?}"
    );
}
