//! Observes the host's networks and applies the plan.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use photon_agent::Known;
use photon_host::conntrack::{Connections, Conntrack};
use photon_host::forwarding::{Databases, Forwarding};
use photon_host::gateways::{Gateways, Units};
use photon_host::links::{Link, Links, Netlink};
use photon_host::network_files::{Directory, NetworkFiles, RUNTIME_DIRECTORY};
use photon_host::network1::{Network1, NetworkManager};
use photon_host::nft::{Nft, PacketFilter};
use photon_host::rules::{PolicyRouting, Rules};
use photon_host::sysctl::{ProcSys, Sysctls};
use photon_host::{Error, durable};
use photon_reconcile::Reconciler;
use tokio::sync::watch;

use super::convert::Parsed;
use super::report::Report;
use crate::plan::{
    Egress, FILE_PREFIX, FilterChange, FilterMemory, Limits, Observed, Plan, Step, Target,
    forbidden, observed_digests, parted, port_problem,
};

/// The host, as far as networks go.
#[derive(Clone)]
pub struct Host {
    /// networkd's files.
    pub files: Arc<dyn NetworkFiles>,
    /// networkd.
    pub manager: Arc<dyn NetworkManager>,
    /// Interfaces.
    pub links: Arc<dyn Links>,
    /// nftables.
    pub filter: Arc<dyn PacketFilter>,
    /// Kernel settings.
    pub settings: Arc<dyn Sysctls>,
    /// Tracked connections.
    pub connections: Arc<dyn Connections>,
    /// What bridges and tunnels are told.
    pub forwarding: Arc<dyn Forwarding>,
    /// Where the host's own addresses are looked for.
    pub rules: Arc<dyn Rules>,
    /// Namespaces of NAT gateways.
    pub gateways: Arc<dyn Gateways>,
}

impl Host {
    /// The machine that this runs on.
    ///
    /// Errors: no netlink socket.
    pub fn real() -> Result<Self, Error> {
        Ok(Self {
            files: Arc::new(Directory::new(RUNTIME_DIRECTORY, FILE_PREFIX)),
            manager: Arc::new(Network1::default()),
            links: Arc::new(Netlink::new()?),
            filter: Arc::new(Nft),
            settings: Arc::new(ProcSys::default()),
            connections: Arc::new(Conntrack),
            forwarding: Arc::new(Databases::new()?),
            rules: Arc::new(PolicyRouting::new()?),
            gateways: Arc::new(Units::default()),
        })
    }
}

/// How long networkd may do nothing that is seen, after it was told and before all interfaces are as they should
/// be. A pass that gives up earlier would tell it again for nothing.
const SETTLE: Duration = Duration::from_secs(10);

/// How long changes of interfaces are gathered before they are looked at.
const COALESCE: Duration = Duration::from_millis(20);

/// Passes with something to do, one after the other, after which a missing interface is reported as an error, and
/// a bridge that gets no ports is made anew.
const PATIENCE: u32 = 3;

/// How many connections the host tracks (nf_conntrack-sysctl.rst).
const CONNTRACK_MAX: &str = "net/netfilter/nf_conntrack_max";

/// The host's networks.
pub struct Networks {
    host: Host,
    known: watch::Receiver<Known<Parsed>>,
    reports: watch::Sender<Report>,
    memory_file: PathBuf,
    limits: Limits,
    underlay_mtu: u32,
    egress: Egress,
    target: Option<(Known<Parsed>, Limits, Arc<Target>)>,
    unsettled: u32,
}

impl Networks {
    /// `memory_file` is where [`FilterMemory`] is kept; if it can't be read, filters are written once more.
    pub fn new(
        host: Host,
        known: watch::Receiver<Known<Parsed>>,
        reports: watch::Sender<Report>,
        memory_file: PathBuf,
        limits: Limits,
        underlay_mtu: u32,
        egress: Egress,
    ) -> Self {
        Self {
            host,
            known,
            reports,
            memory_file,
            limits,
            underlay_mtu,
            egress,
            target: None,
            unsettled: 0,
        }
    }

    /// Rendering is the same for the same desired state, so it is done once for each.
    fn target(&mut self) -> Option<Arc<Target>> {
        let known = self.known.borrow_and_update().clone()?;
        let limits = self.limits();
        match &self.target {
            Some((Some(of), with, target)) if Arc::ptr_eq(of, &known) && *with == limits => {
                Some(target.clone())
            }
            _ => {
                let target = Arc::new(Target::of(
                    &known.desired,
                    limits,
                    self.underlay_mtu,
                    &self.egress,
                ));
                self.target = Some((Some(known), limits, target.clone()));
                Some(target)
            }
        }
    }

    /// Those that are set, and what the host tracks in all.
    fn limits(&self) -> Limits {
        let tracked = self.host.settings.get(CONNTRACK_MAX).ok().flatten();
        Limits {
            host_connections: tracked
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0),
            ..self.limits
        }
    }

    /// From the file each time: somebody may have used `prismnet-agent apply` meanwhile.
    fn memory(&self) -> FilterMemory {
        std::fs::read(&self.memory_file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn report(&self, links: &[Link]) {
        let Some((Some(known), ..)) = &self.target else {
            return;
        };
        let mut report = Report {
            revision: known.desired.revision,
            store_epoch: known.store_epoch.clone(),
            ports: Vec::new(),
        };
        for (id, reason) in &known.refused {
            report.port(id.clone(), Some(reason.to_string()));
        }
        for (_, subnet, port) in known.desired.ports() {
            let problem = port_problem(subnet, port, links);
            if problem.is_none() || self.unsettled >= PATIENCE {
                report.port(port.id.to_string(), problem);
            }
        }
        self.reports.send_if_modified(|current| {
            let changed = *current != report;
            *current = report;
            changed
        });
    }

    async fn change_filter(&self, target: &Target, change: &FilterChange) -> Result<(), Error> {
        if let Err(error) = self.host.filter.apply(&change.commands).await {
            tracing::warn!(
                family = change.family,
                "replacing the whole table, because its objects could not be exchanged: {error}"
            );
            self.host.filter.apply(&change.otherwise).await?;
        }
        let Some(table) = target
            .tables()
            .iter()
            .find(|table| table.family_name() == change.family)
        else {
            return Ok(());
        };
        let printed = self.printed(change.family).await?.unwrap_or_default();
        let of_table = table
            .digests()
            .into_iter()
            .filter_map(|(name, written)| {
                let printed = printed.get(&name)?.clone();
                Some((name, (written, printed)))
            })
            .collect();
        let mut memory = self.memory();
        memory.tables.insert(change.family.to_owned(), of_table);
        self.store(&memory)
    }

    fn store(&self, memory: &FilterMemory) -> Result<(), Error> {
        let text = serde_json::to_vec(memory).map_err(|error| Error::Answer {
            what: "the JSON encoder",
            reason: error.to_string(),
        })?;
        durable::write_volatile(&self.memory_file, &text, 0o600)
    }

    async fn printed(&self, family: &str) -> Result<Option<crate::plan::Digests>, Error> {
        let listing = self
            .host
            .filter
            .list(family, crate::plan::Table::NAME)
            .await?;
        Ok(listing.map(|objects| observed_digests(&objects)))
    }

    /// Cuts the connections that the rules allow no longer: after the filter has been changed, so that none of them
    /// comes back.
    async fn judge(&self, target: &Target) -> Result<(), Error> {
        let Some((Some(known), ..)) = &self.target else {
            return Ok(());
        };
        for _ in 0..PATIENCE {
            let connections = self.host.connections.list().await?;
            let mut forbidden = forbidden(&known.desired, &connections);
            let mut memory = self.memory();
            let gone = memory.peers.difference(target.peers()).copied();
            forbidden.extend(parted(&gone.collect::<Vec<_>>(), &connections));
            if forbidden.is_empty() {
                memory.judged = target.rules().to_owned();
                memory.peers.clone_from(target.peers());
                return self.store(&memory);
            }
            tracing::info!(
                count = forbidden.len(),
                "cutting connections that the rules allow no longer"
            );
            self.host.connections.remove(&forbidden).await?;
        }
        Err(Error::Answer {
            what: "conntrack",
            reason: "connections that the rules allow no longer are still there".to_owned(),
        })
    }

    /// Writes files, tells networkd, and waits until what they are about is there.
    async fn take(&self, target: &Target, step: &Step) -> Result<(), Error> {
        for (name, contents) in &step.write {
            self.host.files.write(name, contents)?;
        }
        self.host.manager.reload().await?;
        self.settle(|links| target.are(&step.interfaces, links))
            .await
    }

    /// Waits until the interfaces are as they should be, or for [`SETTLE`] after the last change.
    async fn settle(&self, settled: impl Fn(&[Link]) -> bool + Send) -> Result<(), Error> {
        let mut changes = self.host.links.changes();
        loop {
            changes.mark_unchanged();
            let links = self.host.links.list().await?;
            // Who waits for a port need not wait for all the others.
            self.report(&links);
            if settled(&links) {
                return Ok(());
            }
            match tokio::time::timeout(SETTLE, changes.changed()).await {
                // Many changes come together; looking after each would cost the square of their number.
                Ok(Ok(())) => tokio::time::sleep(COALESCE).await,
                // Nobody tells of changes any more: the next pass looks again.
                Ok(Err(_)) => return Ok(()),
                Err(_) => {
                    return Err(Error::TimedOut {
                        what: "networkd's work on the interfaces".to_owned(),
                        limit: SETTLE,
                    });
                }
            }
        }
    }

    /// Sets gateways up and ends them: one that fails is in nobody else's way.
    async fn gateways(&self, plan: &Plan) -> Result<(), Error> {
        let gateways = &self.host.gateways;
        let mut result = Ok(());
        for name in &plan.end {
            result = result.and(gateways.end(name).await);
        }
        let set_up = plan.gateways.iter().map(|(name, state)| {
            let anew = plan.renew.contains(name);
            async move { gateways.set_up(name, state, anew).await }
        });
        for one in futures::future::join_all(set_up).await {
            result = result.and(one);
        }
        result
    }

    /// Makes, changes and removes interfaces, and what they are told.
    async fn interfaces(&self, target: &Target, plan: &Plan) -> Result<(), Error> {
        let (first, more) = match plan.steps.split_first() {
            Some((first, more)) => (first.clone(), more),
            None => (Step::default(), &plan.steps[..]),
        };
        for (name, contents) in &first.write {
            self.host.files.write(name, contents)?;
        }
        for name in &plan.remove {
            self.host.files.remove(name)?;
        }
        // A device of the wrong kind is in the way of the right one.
        let (in_the_way, left_over): (Vec<&String>, Vec<&String>) = plan
            .delete
            .iter()
            .partition(|name| target.wants_interface(name));
        for name in in_the_way {
            self.host.links.delete(name).await?;
        }
        if plan.reload {
            self.host.manager.reload().await?;
        }
        // After the reload, or networkd would make them again.
        for name in left_over {
            self.host.links.delete(name).await?;
        }
        if !plan.reconfigure.is_empty() {
            for link in self.host.links.list().await? {
                if plan.reconfigure.contains(&link.name) {
                    self.host.manager.reconfigure(link.index).await?;
                }
            }
        }
        if !more.is_empty() {
            self.settle(|links| target.are(&first.interfaces, links))
                .await?;
        }
        for step in more {
            // What is wanted by now may be more urgent than the rest of this.
            if self.known.has_changed().unwrap_or(false) {
                return Ok(());
            }
            self.take(target, step).await?;
        }
        self.settle(|links| target.interfaces_are(links)).await?;
        if !plan.tell.is_empty() || !plan.untell.is_empty() {
            let forwarding = &self.host.forwarding;
            forwarding.change(&plan.untell, &plan.tell).await?;
        }
        // When nothing of the port can come any more, or a late packet would be tracked again.
        for endpoint in &plan.forget {
            self.host
                .connections
                .forget(endpoint.zone, endpoint.address)
                .await?;
        }
        if !plan.forget.is_empty() {
            let mut memory = self.memory();
            memory.endpoints.retain(|it| !plan.forget.contains(it));
            self.store(&memory)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Reconciler for Networks {
    type Observed = (Arc<Target>, Observed);
    type Plan = Plan;
    type Error = Error;

    async fn observe(&mut self) -> Result<Option<Self::Observed>, Error> {
        let Some(target) = self.target() else {
            return Ok(None);
        };
        let mut tables = BTreeMap::new();
        for table in target.tables() {
            let family = table.family_name();
            if let Some(digests) = self.printed(family).await? {
                tables.insert(family.to_owned(), digests);
            }
        }
        let mut settings = BTreeMap::new();
        for key in target.settings() {
            if let Some(value) = self.host.settings.get(key)? {
                settings.insert(key.to_owned(), value);
            }
        }
        let observed = Observed {
            files: self.host.files.read()?,
            links: self.host.links.list().await?,
            tables,
            memory: self.memory(),
            settings,
            local: self.host.rules.local().await?,
            told: self.host.forwarding.list().await?,
            gateways: self.host.gateways.read()?,
            stuck: self.unsettled >= PATIENCE,
        };
        self.report(&observed.links);
        Ok(Some((target, observed)))
    }

    fn plan(&self, (target, observed): &Self::Observed) -> Plan {
        target.plan(observed)
    }

    async fn apply(&mut self, plan: &Plan) -> Result<(), Error> {
        self.unsettled += 1;
        let Some((.., target)) = self.target.clone() else {
            return Ok(());
        };
        for (key, value) in &plan.set {
            self.host.settings.set(key, value)?;
        }
        let rules = &self.host.rules;
        for (family, preference) in &plan.precedence.add {
            rules.add_local(*family, *preference).await?;
        }
        for (family, preference) in &plan.precedence.remove {
            rules.remove_local(*family, *preference).await?;
        }
        if !plan.remember.is_empty() || !plan.meet.is_empty() {
            // Before they can have a connection.
            let mut memory = self.memory();
            memory.endpoints.extend(plan.remember.iter().cloned());
            memory.peers.extend(plan.meet.iter().copied());
            self.store(&memory)?;
        }
        for change in &plan.filter {
            self.change_filter(&target, change).await?;
        }
        // Looking at all connections may fail, or take too long, on a host that is flooded: what else is to be done is done.
        let judged = match plan.judge {
            true => self.judge(&target).await,
            false => Ok(()),
        };
        let interfaces = self.interfaces(&target, plan).await;
        let gateways = self.gateways(plan).await;
        interfaces.and(judged).and(gateways)
    }

    fn goal(&self) -> u64 {
        self.known
            .borrow()
            .as_ref()
            .map_or(0, |known| known.desired.revision)
    }

    async fn converged(&mut self, _observed: &Self::Observed) {
        self.unsettled = 0;
    }
}
