//! The tenant that must not notice: what it does all the while, and how long each call takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::{IssueTokenRequest, WhoAmIRequest};
use photon_api::plasmavmc::v1::{CreateVmRequest, GetVmRequest, ListVmsRequest, VmSpec};
use photon_api::prismnet::v1::{
    CreatePortRequest, DeletePortRequest, GetPortRequest, ListPortsRequest, UpdatePortRequest,
};
use photon_client::call::{Call, Of};
use photon_e2e::{Account, Session};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::arena::{NEIGHBOUR, server};
use super::wire::{Failed, Line};
use crate::bench::figures::Times;

/// Clients of it, each with connections of its own, and the time from one call of a client to its next.
const CLIENTS: usize = 3;
const PACE: Duration = Duration::from_millis(80);
/// Rounds from one sign-in to the next, and to the next VM: of these a project has 100.
const SIGN_IN: u64 = 4;
const VM: u64 = 8;
/// Failures that are told of in words.
const TOLD: usize = 5;

/// What it calls, in the order of the table.
pub const CALLS: [&str; 9] = [
    "sign in",
    "who am I",
    "create a port",
    "get a port",
    "change a port",
    "list ports",
    "delete a port",
    "create a VM",
    "get and list VMs",
];

/// What came of one kind of call.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    pub times: Times,
    pub failures: usize,
}

/// What came of all its calls in one phase.
#[derive(Clone, Debug, Default)]
pub struct Course {
    pub calls: BTreeMap<&'static str, Calls>,
    /// Of the first failures: which call, and why.
    pub told: Vec<String>,
}

impl Course {
    fn add(&mut self, other: Course) {
        for (name, calls) in other.calls {
            let own = self.calls.entry(name).or_default();
            own.times.extend(calls.times);
            own.failures += calls.failures;
        }
        self.told.extend(other.told);
        self.told.truncate(TOLD);
    }

    fn note<T>(
        &mut self,
        name: &'static str,
        asked: Instant,
        outcome: Result<T, Failed>,
    ) -> Option<T> {
        let calls = self.calls.entry(name).or_default();
        match outcome {
            Ok(answer) => {
                calls.times.push(asked.elapsed());
                Some(answer)
            }
            Err(failed) => {
                calls.failures += 1;
                if self.told.len() < TOLD {
                    let ms = asked.elapsed().as_millis();
                    self.told.push(format!("{name}, after {ms} ms: {failed}"));
                }
                None
            }
        }
    }
}

/// The tenant with what it works on.
#[derive(Clone)]
pub struct Neighbour {
    account: Account,
    token: String,
    subnet: String,
}

impl Neighbour {
    /// Makes its network.
    ///
    /// # Errors
    /// When the cloud refuses.
    pub async fn settle(account: Account, session: &Session) -> Result<Self> {
        let vpc = session.create_vpc("ours", "10.0.0.0/8").await?;
        let subnet = session
            .create_subnet(&vpc, "ours", "10.1.0.0/16", "10.1.0.1")
            .await?;
        // It lists something.
        for number in 0..50 {
            let name = format!("p{number}");
            session.create_port(&subnet, &name, "").await?;
        }
        Ok(Neighbour {
            account,
            token: session.token().to_owned(),
            subnet: subnet.id,
        })
    }

    /// Goes about its work until then.
    ///
    /// # Errors
    /// When one of its clients panics; what its calls come to is no error.
    pub async fn work(&self, until: Instant) -> Result<Course> {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client {
                neighbour: self.clone(),
                iam: Line::new(NEIGHBOUR, server("iam")),
                prismnet: Line::new(NEIGHBOUR, server("prismnet")),
                plasmavmc: Line::new(NEIGHBOUR, server("plasmavmc")),
                course: Course::default(),
            };
            clients.spawn(client.work(until, number as u64));
        }
        let mut course = Course::default();
        while let Some(client) = clients.join_next().await {
            course.add(client.context("a client of the neighbour panicked")?);
        }
        Ok(course)
    }
}

/// One of its clients.
struct Client {
    neighbour: Neighbour,
    iam: Line,
    prismnet: Line,
    plasmavmc: Line,
    course: Course,
}

/// Another number each time, in all phases.
fn next() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

impl Client {
    async fn work(mut self, until: Instant, number: u64) -> Course {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = number;
        while Instant::now() < until {
            self.round(round, &mut pace).await;
            round += 1;
        }
        self.course
    }

    async fn round(&mut self, round: u64, pace: &mut tokio::time::Interval) {
        let token = self.neighbour.token.clone();
        let course = &mut self.course;
        if round.is_multiple_of(SIGN_IN) {
            let account = &self.neighbour.account;
            let sign_in = IssueTokenRequest {
                principal_id: account.user.clone(),
                org_id: account.org.clone(),
                project_id: account.project.clone(),
                credential: Some(Credential::Password(account.password.clone())),
                ..Default::default()
            };
            // As a command line does, by a connection of its own.
            let mut fresh = Line::new(NEIGHBOUR, server("iam"));
            step(course, pace, "sign in", &mut fresh, None, &sign_in).await;
        }
        let token = Some(token.as_str());
        let (iam, prismnet, plasmavmc) = (&mut self.iam, &mut self.prismnet, &mut self.plasmavmc);
        step(course, pace, "who am I", iam, token, &WhoAmIRequest {}).await;
        let create = CreatePortRequest {
            subnet_id: self.neighbour.subnet.clone(),
            name: format!("n{}", next()),
            ..Default::default()
        };
        let made = step(course, pace, "create a port", prismnet, token, &create).await;
        if let Some(port) = made.and_then(|made| made.port) {
            let get = GetPortRequest::of(&port.id);
            step(course, pace, "get a port", prismnet, token, &get).await;
            let change = UpdatePortRequest {
                id: port.id.clone(),
                description: Some(format!("in round {round}")),
                ..Default::default()
            };
            step(course, pace, "change a port", prismnet, token, &change).await;
            let delete = DeletePortRequest::of(&port.id);
            let list = ListPortsRequest::default();
            step(course, pace, "list ports", prismnet, token, &list).await;
            step(course, pace, "delete a port", prismnet, token, &delete).await;
        }
        if round.is_multiple_of(VM) {
            let create = CreateVmRequest {
                name: format!("n{}", next()),
                spec: Some(VmSpec {
                    vcpus: 1,
                    memory_mib: 64,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let made = step(course, pace, "create a VM", plasmavmc, token, &create).await;
            if let Some(vm) = made.and_then(|made| made.vm) {
                let get = GetVmRequest::of(&vm.id);
                step(course, pace, "get and list VMs", plasmavmc, token, &get).await;
            }
        }
        let list = ListVmsRequest::default();
        step(course, pace, "get and list VMs", plasmavmc, token, &list).await;
    }
}

/// One call, when its time has come.
async fn step<R: Call>(
    course: &mut Course,
    pace: &mut tokio::time::Interval,
    name: &'static str,
    line: &mut Line,
    token: Option<&str>,
    request: &R,
) -> Option<R::Answer> {
    pace.tick().await;
    let asked = Instant::now();
    let outcome = line.call(token, request).await;
    course.note(name, asked, outcome)
}
