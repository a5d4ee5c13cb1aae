//! Observes, plans and applies: the agent's work on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use nix::sys::signal::Signal as UnixSignal;
use photon_host::links::Links;
use photon_host::systemd::ServiceManager;
use photon_host::{Error, durable};
use photon_reconcile::{Backoff, Reconciler, Signal};
use photon_resource::VmId;
use tokio::sync::watch;
use tokio::time::Instant;

use super::guests::{Guests, Running};
use super::images::Images;
use super::layout::Layout;
use super::{prepare, unit};
use crate::hypervisor::{Accelerator, ControlError, Hypervisor};
use crate::plan::desired::{Desired, DesiredVm, Sha256Hex};
use crate::plan::{self, Observed, ObservedVm, Plan, Report, Step, Unit};

/// VMs that are worked on at the same time.
const AT_ONCE: usize = 8;
/// Delays before a VM whose step failed is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// Image files that no VM starts from are looked for this often, and kept this long: the next VM may want them.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
const IMAGES_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What the server is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reports {
    pub revision: u64,
    /// Which store the revision is of.
    pub store_epoch: String,
    pub vms: BTreeMap<VmId, Report>,
}

/// What the reconciler works with.
#[derive(Clone)]
pub struct Host {
    pub layout: Layout,
    pub systemd: Arc<dyn ServiceManager>,
    pub links: Arc<dyn Links>,
    pub hypervisor: Arc<dyn Hypervisor>,
    pub accelerator: Accelerator,
    pub images: Images,
    pub guests: Guests,
    /// `qemu-img`.
    pub qemu_img: PathBuf,
    /// This program, which is also each unit's stop command.
    pub stop_program: String,
}

/// A VM whose last step failed.
struct Failure {
    reason: String,
    until: Instant,
    backoff: Backoff,
}

/// Why a step could not be done. The text is also the report to the VM's owner.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Host(#[from] Error),
    #[error(transparent)]
    Guest(#[from] ControlError),
    #[error("VM {0} is not described")]
    NotDescribed(VmId),
    #[error("the image file {0} is not described")]
    NoImage(Sha256Hex),
}

/// The reconciler of a host's VMs. What it remembers only saves work: nothing is lost with it.
pub struct VmReconciler {
    host: Host,
    desired: watch::Receiver<Option<Arc<Desired>>>,
    reports: watch::Sender<Reports>,
    signal: Signal,
    failures: Mutex<BTreeMap<VmId, Failure>>,
    killed: BTreeSet<VmId>,
    connects: bool,
    swept: Option<Instant>,
}

impl VmReconciler {
    /// Works toward `desired`, publishes to `reports`, and asks for passes by `signal` when a delay is over.
    pub fn new(
        host: Host,
        desired: watch::Receiver<Option<Arc<Desired>>>,
        reports: watch::Sender<Reports>,
        signal: Signal,
    ) -> Self {
        Self {
            host,
            desired,
            reports,
            signal,
            failures: Mutex::default(),
            killed: BTreeSet::new(),
            connects: true,
            swept: None,
        }
    }

    /// Does not connect to guests: their monitors and consoles serve one connection, which is the daemon's.
    pub fn only_looking(mut self) -> Self {
        self.connects = false;
        self
    }

    fn failed(&self, id: VmId, reason: String) {
        tracing::warn!(vm = %id, reason, "a step failed");
        metrics::counter!("photon_agent_failures_total").increment(1);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = failures.entry(id).or_insert_with(|| Failure {
            reason: String::new(),
            until: Instant::now(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_MOST),
        });
        failure.reason = reason;
        failure.until = Instant::now() + failure.backoff.failed();
        let (until, signal) = (failure.until, self.signal.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            signal.notify();
        });
    }

    fn succeeded(&self, id: VmId) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&id);
    }

    fn publish(&self, plan: &Plan) {
        let reports = Reports {
            revision: plan.revision,
            store_epoch: plan.desired.store_epoch.clone(),
            vms: plan.reports.clone(),
        };
        self.reports.send_if_modified(|published| {
            let changed = *published != reports;
            *published = reports;
            changed
        });
    }

    /// Does one VM's steps in order; the first that fails ends them.
    async fn apply_vm(&self, id: VmId, vm: Option<&DesiredVm>, steps: &[Step]) {
        for step in steps {
            metrics::counter!("photon_agent_steps_total").increment(1);
            tracing::info!(vm = %id, ?step, "applying");
            if let Err(error) = self.apply_step(id, vm, step).await {
                self.failed(id, error.to_string());
                return;
            }
        }
        // A fetch that was begun may still fail; only what ends with it counts.
        if !matches!(steps, [Step::Fetch { .. }, ..]) {
            self.succeeded(id);
        }
    }

    async fn apply_step(
        &self,
        id: VmId,
        vm: Option<&DesiredVm>,
        step: &Step,
    ) -> Result<(), StepError> {
        let host = &self.host;
        let unit = id.unit_name();
        let described = || vm.ok_or(StepError::NotDescribed(id));
        match step {
            Step::Fetch { sha256 } => {
                let files = described()?.image_files();
                let file = files.into_iter().find(|file| file.sha256 == *sha256);
                let missing = || StepError::NoImage(sha256.clone());
                host.images.start(file.ok_or_else(missing)?);
            }
            Step::Prepare => {
                prepare::prepare(&host.layout, &host.qemu_img, id, described()?).await?;
            }
            Step::Start => self.start(id, described()?).await?,
            Step::Stop { timeout_seconds } => {
                let allowance = timeout_seconds.to_string();
                let path = host.layout.stop_timeout(id);
                durable::write_volatile(&path, allowance.as_bytes(), 0o644)?;
                host.systemd.stop(&unit).await?;
            }
            Step::Kill => {
                let kill = UnixSignal::SIGKILL as i32;
                host.systemd.kill_main(&unit, kill).await?;
            }
            Step::Reset { generation } => {
                host.guests.reset(id).await?;
                let generation = generation.to_string();
                let path = host.layout.reset(id);
                durable::write_volatile(&path, generation.as_bytes(), 0o644)?;
            }
            Step::Clear => {
                host.systemd.stop(&unit).await?;
                host.systemd.reset_failed(&unit).await?;
            }
            Step::Forget => durable::remove(&host.layout.started(id))?,
            Step::Remove => prepare::remove(&host.layout, id)?,
        }
        Ok(())
    }

    async fn start(&self, id: VmId, vm: &DesiredVm) -> Result<(), Error> {
        let layout = &self.host.layout;
        let notes = layout.notes(id);
        std::fs::create_dir_all(&notes).map_err(|source| Error::File {
            action: "create",
            path: notes,
            source,
        })?;
        // What was noted of an earlier run says nothing of this one.
        for path in [
            layout.stop_timeout(id),
            layout.reset(id),
            layout.panicked(id),
            layout.console(id),
        ] {
            durable::remove(&path)?;
        }
        let generation = vm.reboot_generation.to_string();
        durable::write(&layout.started(id), generation.as_bytes(), 0o600)?;
        let service = unit::service(
            layout,
            &*self.host.hypervisor,
            self.host.accelerator,
            &self.host.stop_program,
            id,
            vm,
        );
        self.host.systemd.start_transient(&service).await
    }

    /// VMs that must wait, with the reason. Failed fetches count for every VM that needs the file.
    fn held(&self, desired: &Desired) -> BTreeMap<VmId, String> {
        let failed = self.host.images.take_failures();
        for (id, vm) in &desired.vms {
            let mut files = vm.image_files().into_iter();
            if let Some(reason) = files.find_map(|file| failed.get(&file.sha256)) {
                self.failed(*id, reason.clone());
            }
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|id, _| desired.vms.contains_key(id));
        let now = Instant::now();
        failures
            .iter()
            .filter(|(_, failure)| failure.until > now)
            .map(|(id, failure)| (*id, failure.reason.clone()))
            .collect()
    }
}

#[async_trait]
impl Reconciler for VmReconciler {
    type Observed = Observed;
    type Plan = Plan;
    type Error = Error;

    async fn observe(&mut self) -> Result<Option<Observed>, Error> {
        let Some(desired) = self.desired.borrow_and_update().clone() else {
            return Ok(None);
        };
        let layout = &self.host.layout;
        let mut vms = files(layout);
        for status in self.host.systemd.services(unit::PREFIX).await? {
            let Some(id) = unit::vm_of(&status.name) else {
                continue;
            };
            let panicked = std::fs::read_to_string(layout.panicked(id)).ok();
            let mut unit = unit::observed(&status, panicked.as_deref());
            if let Some(run) = unit.run_mut() {
                // A reset carries a reboot out without making a new run.
                run.reboot_generation = run.reboot_generation.max(number(&layout.reset(id)));
            }
            vms.entry(id).or_default().unit = unit;
        }
        self.killed
            .retain(|id| matches!(vms.get(id), Some(vm) if matches!(vm.unit, Unit::Stopping(_))));
        let running = vms.iter().filter_map(|(id, vm)| match &vm.unit {
            Unit::Running(run) | Unit::Stopping(run) => Some((*id, Running::of(run))),
            _ => None,
        });
        if self.connects {
            self.host.guests.follow(&running.collect());
        }
        for (id, vm) in &mut vms {
            vm.out_of_room = self.host.guests.is_out_of_room(*id);
        }
        let links = self.host.links.list().await?;
        let files = desired.vms.values().flat_map(DesiredVm::image_files);
        let images = files
            .filter(|file| self.host.images.has(&file.sha256))
            .map(|file| file.sha256.clone())
            .collect();
        Ok(Some(Observed {
            held: self.held(&desired),
            vms,
            interfaces: links.into_iter().map(|link| link.name).collect(),
            images,
            fetching: self.host.images.fetching(),
            killed: self.killed.clone(),
            desired,
        }))
    }

    fn plan(&self, observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    async fn apply(&mut self, plan: &Plan) -> Result<(), Error> {
        self.publish(plan);
        let mut work: Vec<BoxFuture<'_, ()>> = Vec::with_capacity(plan.steps.len());
        for (id, steps) in &plan.steps {
            let vm = plan.desired.vms.get(id);
            work.push(self.apply_vm(*id, vm, steps).boxed());
        }
        // One VM's failure is its own: the others go on, and the pass has not failed.
        stream::iter(work)
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
        let killed = plan.steps.iter().filter(|(_, s)| s.contains(&Step::Kill));
        self.killed.extend(killed.map(|(id, _)| *id));
        Ok(())
    }

    async fn converged(&mut self, observed: &Observed) {
        self.publish(&plan::plan(observed));
        let desired = &observed.desired;
        // A VM that is not described may have a disk on top of any image.
        let all_known = observed.vms.keys().all(|id| desired.vms.contains_key(id));
        if all_known && self.swept.is_none_or(|swept| swept.elapsed() > SWEEP_EVERY) {
            self.swept = Some(Instant::now());
            let files = desired.vms.values().flat_map(DesiredVm::image_files);
            let wanted: BTreeSet<_> = files.map(|file| file.sha256.clone()).collect();
            self.host.images.sweep(&wanted, IMAGES_KEPT);
        }
    }
}

/// The VMs that have files here.
fn files(layout: &Layout) -> BTreeMap<VmId, ObservedVm> {
    let mut vms: BTreeMap<VmId, ObservedVm> = BTreeMap::new();
    for directory in [layout.vms(), layout.run.join("vm-notes")] {
        let Ok(entries) = std::fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if let Ok(id) = entry.file_name().to_string_lossy().parse::<VmId>() {
                let started = layout.started(id);
                vms.entry(id).or_insert_with(|| ObservedVm {
                    prepared: prepare::prepared(layout, id),
                    has_files: true,
                    started: started.exists().then(|| number(&started)),
                    ..ObservedVm::default()
                });
            }
        }
    }
    vms
}

/// The number in a file; 0 when there is none.
fn number(path: &std::path::Path) -> u64 {
    std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
