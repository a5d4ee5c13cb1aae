//! What machines tell of themselves over the boot listener: claims, never proofs.

use std::net::IpAddr;
use std::time::Duration;

use chainfire::Ledger;
use flaredb::{Committed, Db};
use photon_reconcile::Signal;
use photon_resource::Error;

use super::change::{ATTEMPTS, Actor, busy, commit, now};
use crate::identify::{Found, identify};
use crate::model::{Hardware, Key, Machine, MachineId, State};
use crate::store;

/// How often the time of a machine's last report is stored, if nothing else of it has changed.
const STORED_EVERY: Duration = Duration::from_secs(60);
/// How many machines that nobody has approved are remembered: whoever is on the network can report some.
const MOST_DISCOVERED: usize = 4096;

const ACTION: &str = "provision:machines:report";

/// What came of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is this machine.
    Machine(Box<Machine>),
    /// It contradicts what is known: how.
    Contradiction(String),
}

/// How firmware asks what it is to boot.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub keys: Vec<Key>,
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

    /// The machine that boots, if it is known. Of several (a part has moved) the first by UUID, serial number, MAC
    /// address; one that is not retired goes before one that is.
    pub async fn booting(&self, asked: &Asked) -> Result<Option<Machine>, Error> {
        let mut retired = None;
        for key in &asked.keys {
            let Some(id) = store::machine_by_key(&self.db, key).await? else {
                continue;
            };
            match store::machine_get(&self.db, id).await? {
                Some(machine) if machine.state == State::Retired => {
                    retired = retired.or(Some(machine));
                }
                Some(machine) => return Ok(Some(machine)),
                None => {}
            }
        }
        Ok(retired)
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
        for _ in 0..ATTEMPTS {
            if let Some(reported) = self
                .try_report(hardware, address.to_canonical(), &actor)
                .await?
            {
                return Ok(reported);
            }
        }
        Err(busy())
    }

    /// `None`: another change got there first.
    async fn try_report(
        &self,
        hardware: &Hardware,
        address: IpAddr,
        actor: &Actor,
    ) -> Result<Option<Reported>, Error> {
        let mut tx = self.db.begin();
        let mut machines: Vec<(Key, Machine)> = Vec::new();
        for key in hardware.keys() {
            if let Some(id) = store::machine_by_key_read(&mut tx, &key).await?
                && let Some(machine) = store::machine_read(&mut tx, id).await?
            {
                machines.push((key, machine));
            }
        }
        let holders: Vec<(Key, &Machine)> = machines
            .iter()
            .map(|(key, machine)| (key.clone(), machine))
            .collect();
        match identify(hardware, &holders) {
            Found::New => {
                self.check_room().await?;
                let mut machine = Machine::discovered(hardware.clone(), address, now());
                if !commit(&self.ledger, tx, actor, ACTION, None, &mut machine).await? {
                    return Ok(None);
                }
                tracing::info!(machine = %machine.id, %address, "a machine was discovered");
                Ok(Some(Reported::Machine(Box::new(machine))))
            }
            Found::Known(id) => {
                // Found by one of its keys, so it is among them.
                let known = machines.into_iter().find(|(_, machine)| machine.id == id);
                let before = known.map(|(_, machine)| machine).ok_or_else(busy)?;
                self.again(tx, before, hardware, address, actor).await
            }
            Found::Contradiction { machines, reason } => {
                drop(tx);
                for id in machines {
                    self.note(id, &reason, actor).await?;
                }
                Ok(Some(Reported::Contradiction(reason)))
            }
        }
    }

    /// A machine that is known reports again.
    async fn again(
        &self,
        mut tx: flaredb::Transaction,
        before: Machine,
        hardware: &Hardware,
        address: IpAddr,
        actor: &Actor,
    ) -> Result<Option<Reported>, Error> {
        let now = now();
        let mut after = before.clone();
        if before.takes_reports() {
            after.hardware = hardware.clone();
            after.reported_address = Some(address);
        }
        let changed = after != before;
        let awaited =
            before.state == State::Approved && before.reported_at <= before.state_changed_at;
        let stale = now
            .duration_since(before.reported_at)
            .is_ok_and(|age| age >= STORED_EVERY);
        if !changed && !awaited && !stale {
            return Ok(Some(Reported::Machine(Box::new(before))));
        }
        after.reported_at = now;
        let done = if changed {
            after.updated_at = now;
            commit(&self.ledger, tx, actor, ACTION, Some(&before), &mut after).await?
        } else {
            // Only time has passed: no event, and the same revision.
            store::machine_put(&mut tx, Some(&before), &after).await?;
            matches!(tx.commit().await?, Committed::Done(_))
        };
        if !done {
            return Ok(None);
        }
        if after.state == State::Approved {
            self.wake.notify();
        }
        Ok(Some(Reported::Machine(Box::new(after))))
    }

    async fn check_room(&self) -> Result<(), Error> {
        let machines = store::machine_all(&self.db).await?;
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

    /// Remembers a contradiction with the machine that it is about.
    async fn note(&self, id: MachineId, reason: &str, actor: &Actor) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let mut tx = self.db.begin();
            let Some(before) = store::machine_read(&mut tx, id).await? else {
                return Ok(());
            };
            let mut after = before.clone();
            if !after.note_conflict(reason, now()) {
                return Ok(());
            }
            let action = "provision:machines:conflict";
            if commit(&self.ledger, tx, actor, action, Some(&before), &mut after).await? {
                tracing::warn!(machine = %id, reason, "a report contradicts what is known");
                return Ok(());
            }
        }
        Err(busy())
    }
}
