//! Following machines, and what their installers write.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use photon_catalog::{Access, Feed, News, Stored};
use photon_resource::{Caller, Error, Scope};
use photon_service::Supervision;

use super::{Installations, Machines};
use crate::log::Follower;
use crate::model::{MACHINES, Machine, MachineId};
use crate::store;

/// How often a file that an installer writes is looked at while somebody follows it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is new of a machine.
#[derive(Debug, Default)]
pub struct MachineNews {
    /// As it is now; `None`: unchanged.
    pub machine: Option<Machine>,
    /// What its installer has written.
    pub log: String,
    /// The log is of a new installation.
    pub log_restarted: bool,
}

/// Follows one machine, or all.
pub struct MachineWatch {
    feed: Feed<Machine>,
    supervision: Supervision,
    /// `None`: all.
    only: Option<MachineId>,
    /// Revisions that were told: a feed may tell one twice.
    known: HashMap<MachineId, u64>,
    waiting: VecDeque<MachineNews>,
    log: Option<(u32, Follower)>,
    files: Installations,
}

impl MachineWatch {
    /// Begins to follow the machine that `text` names; all of them if it is empty.
    pub async fn start(
        access: &Access,
        follower: &photon_catalog::Follower<Machine>,
        machines: &Machines,
        files: Installations,
        caller: Caller,
        text: &str,
    ) -> Result<Self, Error> {
        let db = access.db();
        let action = MACHINES.action("watch");
        let mut only = None;
        let mut resource = MACHINES.any(Scope::System);
        let mut since = None;
        if text.is_empty() {
            let guard = access.guard();
            guard.authorize(&caller, &action, &resource, &[]).await?;
        } else {
            let machine = machines.find(&caller, "watch", text).await?;
            resource = machine.resource();
            only = Some(machine.id);
            // From before the look below: what changes between the two is told twice rather than never.
            since = Some(db.revision().await?);
        }
        let mut watch = Self {
            feed: follower.feed(Scope::System, since).await?,
            supervision: access
                .guard()
                .supervise(caller, action, resource, Vec::new()),
            only,
            known: HashMap::new(),
            waiting: VecDeque::new(),
            log: None,
            files,
        };
        if let Some(id) = only
            && let Some(machine) = store::machine_get(db, id).await?
        {
            watch.hear(machine);
        }
        Ok(watch)
    }

    /// The next thing to tell.
    ///
    /// Errors: the caller's right was lost, the store failed, or the server stops.
    pub async fn next(&mut self) -> Result<MachineNews, Error> {
        loop {
            if let Some(news) = self.waiting.pop_front() {
                return Ok(news);
            }
            if let Some(news) = self.written().await? {
                return Ok(news);
            }
            let look_again = async {
                match self.log {
                    Some(_) => tokio::time::sleep(LOOK_EVERY).await,
                    None => std::future::pending().await,
                }
            };
            let (news, _) = tokio::select! {
                news = self.feed.next() => news?,
                error = self.supervision.lost() => return Err(error),
                () = look_again => continue,
            };
            if let News::Now(machine) = news
                && self.only.is_none_or(|only| only == machine.id)
            {
                self.hear(machine);
            }
        }
    }

    /// Notes what is to be told of a machine.
    fn hear(&mut self, machine: Machine) {
        let (id, installations) = (machine.id, machine.installations);
        if self.known.insert(id, machine.revision) == Some(machine.revision) {
            return;
        }
        let mut news = MachineNews::default();
        if self.only.is_some() && installations > 0 {
            let begun = self.log.as_ref().map(|(of, _)| *of);
            if begun != Some(installations) {
                self.log = Some((installations, Follower::new(self.files.log(id))));
                news.log_restarted = begun.is_some();
            }
        }
        news.machine = Some(machine);
        self.waiting.push_back(news);
    }

    /// What the installer has written since the last look.
    async fn written(&mut self) -> Result<Option<MachineNews>, Error> {
        let Some((of, mut follower)) = self.log.take() else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            let more = follower.more();
            (follower, more)
        });
        let (follower, more) = read.await.map_err(Error::internal)?;
        self.log = Some((of, follower));
        let log = more.map_err(Error::internal)?;
        Ok((!log.is_empty()).then(|| MachineNews {
            log,
            ..MachineNews::default()
        }))
    }
}
