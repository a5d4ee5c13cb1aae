//! What machines tell of themselves over the boot listener: claims, never proofs.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use chainfire::Ledger;
use flaredb::{Db, Transaction};
use photon_catalog::{Actor, Change, Effect, commit_own, work};
use photon_reconcile::Signal;
use photon_resource::Error;

use super::change::{now, put};
use crate::identify::{Asked, Found, fits, identify};
use crate::model::{Hardware, Key, Machine, MachineId, State};
use crate::store;

/// How often the time of a machine's last report is stored, if nothing else of it has changed.
const STORED_EVERY: Duration = Duration::from_secs(60);
/// How many machines that nobody has approved are remembered: whoever is on the network can report some.
const MOST_DISCOVERED: usize = 4096;

const REPORT: &str = "provision:machines:report";

/// What came of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is this machine.
    Machine(Box<Machine>),
    /// It contradicts what is known: how.
    Contradiction(String),
}

/// Takes reports. Clones are the same.
#[derive(Clone)]
pub struct Discovery {
    db: Db,
    ledger: Ledger,
    wake: Signal,
}

impl Discovery {
    /// `wake` asks the installer for a look.
    pub fn new(db: Db, ledger: Ledger, wake: Signal) -> Self {
        Self { db, ledger, wake }
    }

    /// The machine that boots, if it is known: of several the one that fits best.
    pub async fn booting(&self, asked: &Asked) -> Result<Option<Machine>, Error> {
        let mut best = None;
        for key in asked.keys() {
            if let Some(id) = store::machine_by_key(&self.db, &key).await?
                && let Some(machine) = store::machine_get(&self.db, id).await?
                && let Some(fit) = fits(asked, &machine)
                && best.as_ref().is_none_or(|(least, _)| fit > *least)
            {
                best = Some((fit, machine));
            }
        }
        Ok(best.map(|(_, machine)| machine))
    }

    /// Takes in what a machine at `address` says that it is made of.
    ///
    /// Errors: `ResourceExhausted` when too many machines are waiting for approval.
    pub async fn report(&self, hardware: &Hardware, address: IpAddr) -> Result<Reported, Error> {
        let actor = Actor {
            name: String::new(),
            source: address.to_canonical().to_string(),
            request_id: String::new(),
        };
        let mut change = Report {
            db: &self.db,
            hardware,
            address: address.to_canonical(),
        };
        match commit_own(&self.db, &self.ledger, &actor, REPORT, &mut change).await? {
            Told::New(machine) => {
                tracing::info!(machine = %machine.id, %address, "a machine was discovered");
                Ok(Reported::Machine(machine))
            }
            Told::Again { machine, stored } => {
                if stored && machine.state == State::Approved {
                    self.wake.notify();
                }
                Ok(Reported::Machine(machine))
            }
            Told::Contradiction { machines, reason } => {
                for id in machines {
                    self.note(id, &reason, &actor).await?;
                }
                Ok(Reported::Contradiction(reason))
            }
        }
    }

    /// Remembers a contradiction with the machine that it is about.
    async fn note(&self, id: MachineId, reason: &str, actor: &Actor) -> Result<(), Error> {
        let mut change = work((id, reason), |(id, reason), tx| {
            Box::pin(async move {
                let Some(before) = store::machine_read(tx, *id).await? else {
                    return Ok(Effect::nothing(false));
                };
                let mut after = before.clone();
                if !after.note_conflict(reason, now()) {
                    return Ok(Effect::nothing(false));
                }
                Ok(put(tx, Some(&before), after).await?.map(|_| true))
            })
        });
        let action = "provision:machines:conflict";
        if commit_own(&self.db, &self.ledger, actor, action, &mut change).await? {
            tracing::warn!(machine = %id, reason, "a report contradicts what is known");
        }
        Ok(())
    }
}

/// What a machine says that it is made of.
struct Report<'a> {
    db: &'a Db,
    hardware: &'a Hardware,
    address: IpAddr,
}

/// What a report came to in the store.
enum Told {
    New(Box<Machine>),
    Again {
        machine: Box<Machine>,
        /// Something of it was stored.
        stored: bool,
    },
    Contradiction {
        machines: Vec<MachineId>,
        reason: String,
    },
}

#[async_trait]
impl Change for Report<'_> {
    type Value = Told;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Told>, Error> {
        let mut machines: Vec<(Key, Machine)> = Vec::new();
        for key in self.hardware.keys() {
            if let Some(id) = store::machine_by_key_read(tx, &key).await?
                && let Some(machine) = store::machine_read(tx, id).await?
            {
                machines.push((key, machine));
            }
        }
        let holders: Vec<(Key, &Machine)> = machines
            .iter()
            .map(|(key, machine)| (key.clone(), machine))
            .collect();
        match identify(self.hardware, &holders) {
            Found::New => {
                check_room(self.db).await?;
                let machine = Machine::discovered(self.hardware.clone(), self.address, now());
                let effect = put(tx, None, machine).await?;
                Ok(effect.map(|machine| Told::New(Box::new(machine))))
            }
            Found::Known(id) => {
                let known = machines.into_iter().find(|(_, machine)| machine.id == id);
                // Found by one of its keys, so it is among them.
                let (_, before) =
                    known.ok_or_else(|| Error::internal("a known machine is none"))?;
                self.again(tx, before).await
            }
            Found::Contradiction { machines, reason } => {
                Ok(Effect::nothing(Told::Contradiction { machines, reason }))
            }
        }
    }
}

impl Report<'_> {
    /// A machine that is known reports again.
    async fn again(&self, tx: &mut Transaction, before: Machine) -> Result<Effect<Told>, Error> {
        let told = |stored| {
            move |machine| Told::Again {
                machine: Box::new(machine),
                stored,
            }
        };
        let now = now();
        let mut after = before.clone();
        if before.takes_reports() {
            after.hardware = self.hardware.clone();
            after.reported_address = Some(self.address);
        }
        let changed = after != before;
        let awaited =
            before.state == State::Approved && before.reported_at <= before.state_changed_at;
        let stale = now
            .duration_since(before.reported_at)
            .is_ok_and(|age| age >= STORED_EVERY);
        if !changed && !awaited && !stale {
            return Ok(Effect::nothing(before).map(told(false)));
        }
        after.reported_at = now;
        if changed {
            after.updated_at = now;
            return Ok(put(tx, Some(&before), after).await?.map(told(true)));
        }
        // Only time has passed: no event, and the same revision.
        store::machine_put(tx, Some(&before), &after).await?;
        Ok(Effect::silent(after).map(told(true)))
    }
}

async fn check_room(db: &Db) -> Result<(), Error> {
    let machines = store::machine_all(db).await?;
    let waiting = machines
        .iter()
        .filter(|machine| machine.state == State::Discovered)
        .count();
    if waiting < MOST_DISCOVERED {
        return Ok(());
    }
    Err(Error::quota_exceeded(
        "discovered_machines",
        waiting as u64,
        MOST_DISCOVERED as u64,
        format!(
            "{MOST_DISCOVERED} machines are waiting for approval already: approve or retire some first"
        ),
    ))
}
