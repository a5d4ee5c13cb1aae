//! Upgrade and rollback: one host after the other, each watched, the first failure ends it.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::sync::watch;
use tokio::time::Instant;

use super::facts::Facts;
use super::health::{Look, look};
use super::inventory::{Hosts, flake_here};
use super::plan::{self, Before, Line, Outcome, Report};
use super::remote::{self, Ended, Ssh, Target};
use crate::error::Failure;
use crate::output::{Column, Output, Shape, tell};

/// Between two looks at a host that is not healthy yet.
const PAUSE: Duration = Duration::from_secs(2);

const COLUMNS: &[Column] = &[
    ("HOST", "name"),
    ("OUTCOME", "outcome"),
    ("FROM", "from"),
    ("NOW", "now"),
    ("REASON", "reason"),
];

/// How hosts are switched.
#[derive(Args, Clone, Debug)]
pub struct Switching {
    /// Seconds that a host has to be healthy after its switch.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    health_timeout: u64,
    /// Seconds that a healthy host must stay so before the next one's turn: a crash loop looks healthy in between.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    settle: u64,
    /// Go on when a VM stops or restarts during a host's switch: tenants may have done that themselves.
    #[arg(long)]
    allow_vm_changes: bool,
    /// Begin although a host is not healthy, for when this is to mend it.
    #[arg(long)]
    allow_unhealthy: bool,
}

/// What is done with a host's VMs before its switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Drain {
    /// Nothing: they stay running. A switch does not touch them.
    None,
    /// Stop before a host that runs VMs, for an upgrade that is followed by a reboot.
    RequireEmpty,
}

/// `photon host upgrade`
#[derive(Args, Clone, Debug)]
pub struct Upgrade {
    #[command(flatten)]
    hosts: Hosts,
    /// The flake with the hosts' configurations. Default: the one of the current directory.
    #[arg(long, value_name = "REF", env = "PHOTON_FLAKE")]
    flake: Option<String>,
    /// What to do with a host's VMs first.
    #[arg(long, value_enum, default_value_t = Drain::None)]
    drain: Drain,
    #[command(flatten)]
    switching: Switching,
    /// In place of an upgrade, once all hosts were upgraded and there is no way back wanted: lets the servers write
    /// their stores in the new version's form. From then on the previous version refuses to run on them. Each server
    /// is away for a moment.
    #[arg(long, conflicts_with = "nixos_rebuild")]
    finalize: bool,
    /// More for nixos-rebuild, after `--` (`-- --build-host builder`).
    #[arg(last = true, value_name = "NIXOS-REBUILD-ARGUMENTS")]
    nixos_rebuild: Vec<String>,
}

/// `photon host rollback`
#[derive(Args, Clone, Debug)]
pub struct Rollback {
    #[command(flatten)]
    hosts: Hosts,
    /// The flake that knows the hosts' addresses. Default: the one of the current directory, if there is one.
    #[arg(long, value_name = "REF", env = "PHOTON_FLAKE")]
    flake: Option<String>,
    /// The generation to go to. Default: the one before the current.
    #[arg(long, value_name = "NUMBER")]
    to_generation: Option<u64>,
    #[command(flatten)]
    switching: Switching,
}

/// How often Ctrl-C was pressed: once ends the work after the current host, twice ends the current host's switch and
/// takes it back, three times leaves everything as it is.
struct Interrupts(watch::Receiver<u8>);

impl Interrupts {
    fn listen() -> Self {
        let (count, receiver) = watch::channel(0_u8);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                count.send_modify(|count| *count = count.saturating_add(1));
                let text = match *count.borrow() {
                    1 => "interrupted: this host is finished first; Ctrl-C again takes it back now",
                    2 => "interrupted: taking this host back; Ctrl-C again leaves it as it is",
                    _ => "interrupted: leaving",
                };
                tell!("{text}");
            }
        });
        Self(receiver)
    }

    fn count(&self) -> u8 {
        *self.0.borrow()
    }

    /// Resolves when it was pressed this often.
    async fn reached(&self, count: u8) {
        let mut receiver = self.0.clone();
        // Without a listener nobody can interrupt.
        if receiver.wait_for(|now| *now >= count).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A way to bring one host to something else.
trait Change {
    /// Carries it out.
    async fn carry_out(&self, ssh: &Ssh, target: &Target, interrupts: &Interrupts) -> Ended;
}

struct ToFlake {
    flake: String,
    more: Vec<String>,
}

impl Change for ToFlake {
    async fn carry_out(&self, ssh: &Ssh, target: &Target, interrupts: &Interrupts) -> Ended {
        say(
            &target.name,
            &format!("switching to {}#{}", self.flake, target.name),
        );
        let show = |line: &str| said(&target.name, line);
        let interrupt = interrupts.reached(2);
        remote::switch(ssh, &self.flake, target, &self.more, show, interrupt).await
    }
}

struct ToGeneration(Option<u64>);

impl Change for ToGeneration {
    async fn carry_out(&self, ssh: &Ssh, target: &Target, interrupts: &Interrupts) -> Ended {
        let (generation, closure) = remote::previous(ssh, target, self.0).await?;
        say(
            &target.name,
            &format!("switching to generation {generation}, {closure}"),
        );
        let show = |line: &str| said(&target.name, line);
        let interrupt = interrupts.reached(2);
        remote::switch_back(ssh, target, &closure, Some(generation), show, interrupt).await
    }
}

/// One run over hosts.
struct Run<'a> {
    ssh: Ssh,
    switching: &'a Switching,
    drain: Drain,
    interrupts: Interrupts,
}

/// `photon host upgrade`
pub async fn upgrade(args: Upgrade, output: &Output) -> Result<(), Failure> {
    let flake = flake_here(args.flake);
    if args.finalize {
        let targets = args.hosts.find(flake.as_deref()).await?;
        return super::finalize::run(&args.hosts.ssh(), &targets, output).await;
    }
    let Some(flake) = flake else {
        return Err(Failure::Local(
            "no flake to upgrade to: give it (`--flake github:example/rack`), or run this beside its flake.nix".into(),
        ));
    };
    remote::ensure_program("nixos-rebuild")?;
    let targets = args.hosts.find(Some(&flake)).await?;
    let run = Run::new(&args.hosts, &args.switching, args.drain);
    let before = run.look_at_all(&targets).await?;
    let order = plan::upgrade_order(before);
    let names: Vec<&str> = order.iter().map(|host| host.name.as_str()).collect();
    tell!("upgrading to {flake}, in this order: {}", names.join(", "));
    let change = ToFlake {
        flake,
        more: args.nixos_rebuild,
    };
    let report = run.all("upgrade", order, &targets, &change).await?;
    finish(&report, output)
}

/// `photon host rollback`
pub async fn rollback(args: Rollback, output: &Output) -> Result<(), Failure> {
    let flake = flake_here(args.flake);
    let targets = args.hosts.find(flake.as_deref()).await?;
    let run = Run::new(&args.hosts, &args.switching, Drain::None);
    let before = run.look_at_all(&targets).await?;
    let order = plan::rollback_order(before);
    let change = ToGeneration(args.to_generation);
    let report = run.all("rollback", order, &targets, &change).await?;
    finish(&report, output)
}

fn finish(report: &Report, output: &Output) -> Result<(), Failure> {
    let rows = report.lines.iter().map(Line::value).collect();
    output.rows(rows, COLUMNS, &Shape::default(), None)?;
    if report.is_good() {
        Ok(())
    } else if report.interrupted {
        tell!("{report}");
        Err(Failure::Interrupted)
    } else {
        Err(Failure::Local(report.to_string()))
    }
}

impl<'a> Run<'a> {
    fn new(hosts: &Hosts, switching: &'a Switching, drain: Drain) -> Self {
        Self {
            ssh: hosts.ssh(),
            switching,
            drain,
            interrupts: Interrupts::listen(),
        }
    }

    /// Before anything is begun, every host must be there and well: half an upgrade is worse than none.
    async fn look_at_all(&self, targets: &[Target]) -> Result<Vec<Before>, Failure> {
        let looks = targets.iter().map(|target| look(&self.ssh, target));
        let looks = tokio::select! {
            looks = futures::future::join_all(looks) => looks,
            () = self.interrupts.reached(1) => return Err(Failure::Interrupted),
        };
        let mut wrong = Vec::new();
        let mut before = Vec::new();
        for (target, look) in targets.iter().zip(looks) {
            match look {
                Err(reason) => wrong.push(format!("{}: {reason}", target.name)),
                Ok(look) => {
                    if !self.switching.allow_unhealthy {
                        let problems = look.problems(None);
                        wrong.extend(
                            problems
                                .iter()
                                .map(|problem| format!("{}: {problem}", target.name)),
                        );
                    }
                    before.push(Before {
                        name: target.name.clone(),
                        facts: look.facts,
                    });
                }
            }
        }
        if wrong.is_empty() {
            return Ok(before);
        }
        let hint = if before.len() == targets.len() {
            "; --allow-unhealthy begins anyway"
        } else {
            ""
        };
        Err(Failure::Local(format!(
            "nothing was begun, since not every host is well{hint}:\n{}",
            wrong.join("\n")
        )))
    }

    async fn all(
        &self,
        verb: &'static str,
        order: Vec<Before>,
        targets: &[Target],
        change: &impl Change,
    ) -> Result<Report, Failure> {
        let mut lines: Vec<Line> = Vec::new();
        let mut stopped = false;
        for host in order {
            let target = targets.iter().find(|target| target.name == host.name);
            let mut line = Line {
                name: host.name.clone(),
                from: short(&host.facts),
                now: short(&host.facts),
                outcome: Outcome::NotBegun,
            };
            if let Some(target) = target
                && !stopped
                && self.interrupts.count() == 0
            {
                let (outcome, now) = tokio::select! {
                    done = self.one(&host, target, change) => done,
                    () = self.interrupts.reached(3) => {
                        return Err(Failure::Local(format!(
                            "left in the midst of {}: what it runs now, `photon host status {}` shows",
                            host.name, host.name
                        )));
                    }
                };
                stopped = !outcome.is_good();
                if let Some(now) = now {
                    line.now = short(&now);
                }
                line.outcome = outcome;
            }
            lines.push(line);
        }
        Ok(Report {
            verb,
            lines,
            interrupted: self.interrupts.count() > 0,
        })
    }

    /// Brings one host to something else, and back if that goes wrong.
    async fn one(
        &self,
        host: &Before,
        target: &Target,
        change: &impl Change,
    ) -> (Outcome, Option<Facts>) {
        // As it is now, not as it was when the first host's turn was.
        let before = match self.ssh.probe(target).await {
            Ok(facts) => facts,
            Err(reason) => return (Outcome::Untouched { reason }, None),
        };
        if self.drain == Drain::RequireEmpty && !before.vms.is_empty() {
            let reason = format!(
                "it runs {} VMs, and --drain require-empty was given",
                before.vms.len()
            );
            return (Outcome::Untouched { reason }, None);
        }
        let reason = match change.carry_out(&self.ssh, target, &self.interrupts).await {
            Err(reason) => reason,
            Ok(()) => match self.wait_until_healthy(target, &before).await {
                Err(reason) => reason,
                Ok(now) if now.same_system(&before) => return (Outcome::Same, Some(now)),
                Ok(now) => return (Outcome::Done, Some(now)),
            },
        };
        say(&host.name, &format!("failed: {reason}"));
        let now = match self.ssh.probe(target).await {
            // Not even asked: it may have been the switch that cut it off, so the way back is tried.
            Err(_) => None,
            Ok(now) if now.same_system(&before) => {
                return (Outcome::Untouched { reason }, Some(now));
            }
            Ok(now) => Some(now),
        };
        match self.back(target, &before).await {
            Ok(now) => (Outcome::Undone { reason }, Some(now)),
            Err(rollback) => (Outcome::Broken { reason, rollback }, now),
        }
    }

    /// Takes a host back to what it was.
    async fn back(&self, target: &Target, before: &Facts) -> Result<Facts, String> {
        say(&target.name, &format!("going back to {}", before.closure));
        let show = |line: &str| said(&target.name, line);
        let never = std::future::pending();
        // A generation of a configuration that was only tried has no number.
        let generation = before
            .generation
            .filter(|_| before.profile == before.closure);
        remote::switch_back(&self.ssh, target, &before.closure, generation, show, never).await?;
        self.wait_until_healthy(target, before).await
    }

    /// Waits until the host is as well as before, its VMs untouched, and stays so for a while.
    async fn wait_until_healthy(&self, target: &Target, before: &Facts) -> Result<Facts, String> {
        let deadline = Instant::now() + Duration::from_secs(self.switching.health_timeout);
        let settle = Duration::from_secs(self.switching.settle);
        let mut well: Option<(Instant, Facts)> = None;
        let mut shown = String::new();
        loop {
            let problems = match look(&self.ssh, target).await {
                Err(reason) => vec![reason],
                Ok(look) => {
                    let Look { facts, .. } = &look;
                    let disturbed = plan::disturbed(before, facts);
                    if !disturbed.is_empty() && !self.switching.allow_vm_changes {
                        return Err(format!(
                            "VMs did not stay as they were: {} (if tenants did that: --allow-vm-changes)",
                            disturbed.join(", ")
                        ));
                    }
                    let problems = look.problems(Some(before));
                    if problems.is_empty() {
                        match &well {
                            Some((since, earlier)) if plan::settled(earlier, facts) => {
                                if since.elapsed() >= settle {
                                    say(&target.name, "healthy");
                                    return Ok(look.facts);
                                }
                            }
                            _ => well = Some((Instant::now(), look.facts)),
                        }
                    } else {
                        well = None;
                    }
                    problems
                }
            };
            let text = problems.join("; ");
            if Instant::now() >= deadline {
                let text = if text.is_empty() {
                    "its services keep restarting".to_owned()
                } else {
                    text
                };
                return Err(format!(
                    "not healthy {} s after the switch: {text}",
                    self.switching.health_timeout
                ));
            }
            if !text.is_empty() && text != shown {
                say(&target.name, &format!("waiting: {text}"));
                shown = text;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What a host runs, for people: the closure's name without the hash.
fn short(facts: &Facts) -> String {
    let name = facts.closure.rsplit('/').next().unwrap_or_default();
    let name = name.split_once('-').map_or(name, |(_, name)| name);
    match facts.generation {
        Some(number) => format!("{number}: {name}"),
        None => name.to_owned(),
    }
}

/// Progress goes to standard error; the report is the answer.
fn say(host: &str, text: &str) {
    tell!("{host}: {text}");
}

/// What a program says about a host.
fn said(host: &str, line: &str) {
    tell!("{host} | {}", line.replace(char::is_control, " "));
}
