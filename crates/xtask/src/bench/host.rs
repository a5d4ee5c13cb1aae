//! What is measured on a rack host, where all five daemons run as they do on any host: their memory, and how long
//! prismnet-agent takes to find that nothing is to be done.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use photon_api::prismnet::v1::{AttachPortRequest, DeviceType, Port, Subnet};
use tokio::task::JoinSet;

use super::figures::Figure;
use super::vm::Place;
use crate::photoncloud::programs::Programs;
use crate::photoncloud::{self, Endpoints};
use crate::progress::{Step, say};
use crate::rack::{GuestFiles, Host, Rack, Shape};
use photon_e2e::guest::Line;
use photon_e2e::{Account, Channels, OPERATOR, Session, onboard};

const MEMORY: &str = "memory of the daemons, idle (PSS, on a rack host)";
const RESTART: &str =
    "prismnet-agent restarted, 1,000 ports (on a rack host: User-mode Linux, several times slower)";

const DAEMONS: [&str; 5] = [
    "iam-server",
    "prismnet-server",
    "plasmavmc-server",
    "prismnet-agent",
    "plasmavmc-agent",
];
/// Of a MiB.
const KIB: f64 = 1024.0;
/// A daemon that has just started gives memory back for a while.
const IDLE: Duration = Duration::from_secs(10);

const SUBNETS: usize = 4;
const PORTS: usize = 1000;
/// Attached together and waited for, so that progress is seen, and a failure soon. prismnet-agent itself gives
/// networkd no more than this at once.
const BATCH: usize = 100;
const AT_ONCE: usize = 16;
const RESTARTS: usize = 5;
/// For one batch.
const CONVERGE: Duration = Duration::from_secs(120);

/// A rack host with PhotonCloud, and who uses it.
pub struct Cloud {
    pub host: Host,
    pub operator: Session,
    pub tenant: Session,
    pub guest: GuestFiles,
    /// What the daemons take.
    pub memory: Vec<Figure>,
    _endpoints: Endpoints,
    _rack: Rack,
}

impl Cloud {
    /// `weigh`: measures the daemons' memory, before anybody has called them and after.
    pub async fn start(weigh: bool) -> Result<Self> {
        let programs = tokio::task::spawn_blocking(Programs::ensure).await??;
        let step = Step::begin("booting a rack host with PhotonCloud");
        let rack = Rack::shaped(Shape {
            hosts: 1,
            memory_mib: 3072,
        })
        .await?;
        let host = rack.host(1);
        photoncloud::install(&host, &programs).await?;
        let mut memory = Vec::new();
        if weigh {
            memory.push(Self::memory_of(&host, "just started").await?);
        }
        let endpoints = Endpoints::open(&host).await?;
        let channels = Channels::at(endpoints.urls())?;
        let password = photoncloud::operator_password(&host).await?;
        let operator = Session::open(&channels, OPERATOR, "", "", &password).await?;
        let account = Account::new("acme")?;
        onboard(&operator, &account).await?;
        let (org, project) = (&account.org, &account.project);
        operator.wait_for_host(IDLE).await?;
        let tenant =
            Session::open(&channels, &account.user, org, project, &account.password).await?;
        if weigh {
            memory.push(Self::memory_of(&host, "idle after two sign-ins (Argon2)").await?);
        }
        step.end();
        Ok(Cloud {
            memory,
            guest: rack.guest(),
            host,
            operator,
            tenant,
            _endpoints: endpoints,
            _rack: rack,
        })
    }

    /// All daemons together, and each with its share that is no file's (the program itself is one).
    async fn memory_of(host: &Host, what: &str) -> Result<Figure> {
        tokio::time::sleep(IDLE).await;
        let script = format!(
            "for unit in {}; do \
               awk -v unit=$unit '/^Pss:/ {{ all = $2 }} /^Pss_Anon:/ {{ anonymous = $2 }} \
                 END {{ print unit, all, anonymous }}' \
                 /proc/$(systemctl show -P MainPID $unit)/smaps_rollup || exit 1; \
             done",
            DAEMONS.join(" ")
        );
        let printed = host.check(&script).await?;
        let mut total = 0.0;
        let mut each = Vec::new();
        for line in printed.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [unit, all, anonymous] = words[..] else {
                bail!("no memory in {line:?}");
            };
            let (all, anonymous) = (all.parse::<f64>()? / KIB, anonymous.parse::<f64>()? / KIB);
            total += all;
            each.push(format!("{unit} {all:.1} (anonymous {anonymous:.1})"));
        }
        ensure!(each.len() == DAEMONS.len(), "not all daemons: {printed}");
        let note = format!("MiB: {}", each.join(", "));
        Ok(Figure::of(MEMORY, what, "MiB", &[total])
            .below(100.0)
            .note(note))
    }

    /// Gives the host 1,000 attached ports, waits until they are there, and restarts the agent.
    pub async fn agent_restart(&self) -> Result<Vec<Figure>> {
        let step = Step::begin("giving the host 1,000 ports (minutes)");
        let vpc = self.tenant.create_vpc("thousand", "10.8.0.0/16").await?;
        let mut subnets = Vec::new();
        for number in 0..SUBNETS {
            let name = format!("thousand-{number}");
            let (cidr, gateway) = (
                format!("10.8.{}.0/23", 2 * number),
                format!("10.8.{}.1", 2 * number),
            );
            subnets.push(
                self.tenant
                    .create_subnet(&vpc, &name, &cidr, &gateway)
                    .await?,
            );
        }
        for first in (0..PORTS).step_by(BATCH) {
            self.attach_ports(&subnets, first..first + BATCH).await?;
            self.converge(first + BATCH).await?;
        }
        step.end();

        let step = Step::begin("restarting prismnet-agent");
        let (mut quiet, mut ready) = (Vec::new(), Vec::new());
        for _ in 0..RESTARTS {
            let printed = self.host.check(RESTART_SCRIPT).await?;
            let mut numbers = printed.split_whitespace();
            let mut number = || -> Result<f64> {
                let number = numbers.next().context("the script prints three numbers")?;
                Ok(number.parse()?)
            };
            ready.push(number()?);
            quiet.push(number()?);
            let applied = number()?;
            ensure!(
                applied == 0.0,
                "the restarted agent changed something: {applied} passes"
            );
        }
        step.end();
        Ok(vec![
            Figure::of(RESTART, "to ready (sd_notify)", "ms", &ready),
            Figure::of(RESTART, "to \"nothing to do\"", "ms", &quiet)
                .note("nothing was changed in any round"),
        ])
    }

    async fn attach_ports(&self, subnets: &[Subnet], numbers: Range<usize>) -> Result<()> {
        let mut work = JoinSet::new();
        for number in numbers {
            while work.len() >= AT_ONCE {
                work.join_next().await.context("some are under way")???;
            }
            let (tenant, operator) = (self.tenant.clone(), self.operator.clone());
            let subnet = subnets[number % subnets.len()].clone();
            let name = format!("thousand-{number}");
            work.spawn(async move { attached(&tenant, &operator, &subnet, &name).await });
        }
        while let Some(attached) = work.join_next().await {
            attached??;
        }
        Ok(())
    }

    /// Waits until the agent has made the interfaces of so many ports, and all that goes with them.
    async fn converge(&self, ports: usize) -> Result<()> {
        let deadline = Instant::now() + CONVERGE;
        let mut said = Instant::now();
        loop {
            let printed = self.host.check(PROGRESS_SCRIPT).await?;
            let (taps, status) = printed.trim().split_once(' ').unwrap_or_default();
            if taps.parse::<usize>()? >= ports && status == "nothing to do" {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "after {} s the host has {taps} of {ports} interfaces; prismnet-agent: {status}",
                CONVERGE.as_secs()
            );
            if said.elapsed() > Duration::from_secs(15) {
                said = Instant::now();
                say(format!("    {taps} interfaces; prismnet-agent: {status}"));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

impl Place for Host {
    const NATIVE: bool = false;

    async fn check(&self, script: &str) -> Result<String> {
        Host::check(self, script).await
    }

    async fn talk(&self, script: &str) -> Result<impl Line> {
        self.spawn(script).await
    }

    // prismnet-agent does both.
    async fn plug(&self, _subnet: &Subnet, _port: &Port) -> Result<()> {
        Ok(())
    }

    async fn unplug(&self, _port: &Port) -> Result<()> {
        Ok(())
    }
}

const PROGRESS_SCRIPT: &str = "echo $(ls -d /sys/class/net/pt* 2>/dev/null | wc -l) \
                               $(systemctl show -P StatusText prismnet-agent)";

/// Prints milliseconds to ready, to "nothing to do", and in how many passes something was changed.
const RESTART_SCRIPT: &str = "begun=$EPOCHREALTIME\n\
    systemctl restart prismnet-agent || exit 1\n\
    ready=$EPOCHREALTIME\n\
    until [ \"$(systemctl show -P StatusText prismnet-agent)\" = 'nothing to do' ]; do sleep 0.01; done\n\
    quiet=$EPOCHREALTIME\n\
    applied=$(curl -s http://127.0.0.1:51181/metrics | awk '/^photon_(agent_)?reconcile_applied_total/ { print $2 }')\n\
    echo $(((${ready/./} - ${begun/./}) / 1000)) $(((${quiet/./} - ${begun/./}) / 1000)) $applied";

async fn attached(
    tenant: &Session,
    operator: &Session,
    subnet: &Subnet,
    name: &str,
) -> Result<Port> {
    let port = tenant.create_port(subnet, name, "").await?;
    let request = AttachPortRequest {
        id: port.id.clone(),
        // Any UUID will do for a machine that is not there; the port's own is at hand.
        device_id: port.id.clone(),
        device_type: DeviceType::Vm.into(),
        node: "h1".to_owned(),
        ..Default::default()
    };
    let answer = operator.ports().attach_port(request).await;
    let answer = answer.with_context(|| format!("cannot attach the port {name}"))?;
    let port = answer.into_inner().port;
    port.context("AttachPort answered without the port")
}
