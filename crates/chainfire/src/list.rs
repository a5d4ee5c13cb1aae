use flaredb::{Db, decode};
use photon_resource::{Error, OrgId, PageRequest, ProjectId};

use crate::event::chain_name;
use crate::ledger::{PAGE, event_key, events_prefix};
use crate::{Digest, Event, Ledger, Outcome};

/// Most events that are looked at for one page, so that a filter which matches almost nothing does not hold
/// the server; the page then has fewer events than asked for, and a token to go on.
const LOOKED_AT: usize = 10_000;

/// Which events of a chain are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Whose chain; `None`: the system's.
    pub org: Option<OrgId>,
    /// Only of this project; `None`: of all, and of the organization itself.
    pub project: Option<ProjectId>,
    /// Only events with greater numbers.
    pub after_sequence: u64,
    /// Only of this principal.
    pub principal_id: Option<String>,
    /// Only actions that begin so.
    pub action_prefix: String,
    /// Only resources whose names begin so.
    pub resource_prefix: String,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
}

impl Filter {
    /// Whether the event, which is of the right chain, is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        event.sequence > self.after_sequence
            && self
                .project
                .as_ref()
                .is_none_or(|project| project.as_str() == event.project_id)
            && self
                .principal_id
                .as_ref()
                .is_none_or(|principal| *principal == event.principal_id)
            && event.action.starts_with(&self.action_prefix)
            && event.resource.starts_with(&self.resource_prefix)
            && self.outcome.is_none_or(|outcome| outcome == event.outcome)
    }

    /// Tells a token of this filter from those of others.
    fn mark(&self) -> String {
        let mut mark = Digest::of(format!("{self:?}").as_bytes()).to_string();
        mark.truncate(16);
        mark
    }
}

/// Some events, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events; there may be fewer than asked for even if more follow.
    pub events: Vec<Event>,
    /// Gives the next page; empty: there are no more.
    pub next_page_token: String,
}

impl Ledger {
    /// A page of the events that the filter wants. Errors: `InvalidArgument` for a token that another
    /// filter's page gave, `FailedPrecondition` for an event that cannot be read.
    pub async fn list(&self, filter: &Filter, page: &PageRequest) -> Result<EventPage, Error> {
        let after = match &page.after {
            Some(token) => from_token(filter, token)?,
            None => filter.after_sequence,
        };
        let start = self.start(chain_name(filter.org.as_ref())).await;
        let start = start.map_err(unreadable)?.sequence;
        list(self.db(), filter, after.max(start), page.size).await
    }
}

async fn list(db: &Db, filter: &Filter, after: u64, size: usize) -> Result<EventPage, Error> {
    let chain = chain_name(filter.org.as_ref());
    let prefix = events_prefix(chain);
    let mut events = Vec::new();
    let mut after = event_key(chain, after);
    let mut looked_at = 0;
    loop {
        let scan = db.scan_raw(&prefix, Some(&after), PAGE).await?;
        let count = scan.items.len();
        for (at, item) in scan.items.into_iter().enumerate() {
            let event: Event = decode(&item.key, &item.value).map_err(unreadable)?;
            looked_at += 1;
            after = item.key;
            if filter.matches(&event) {
                events.push(event);
            }
            let more = scan.more || at + 1 < count;
            if more && (events.len() == size || looked_at == LOOKED_AT) {
                let next_page_token = token(filter, &after[prefix.len()..]);
                return Ok(EventPage {
                    events,
                    next_page_token,
                });
            }
        }
        if !scan.more {
            return Ok(EventPage {
                events,
                next_page_token: String::new(),
            });
        }
    }
}

fn unreadable(error: flaredb::Error) -> Error {
    Error::FailedPrecondition(format!(
        "an event cannot be read; verify the chain: {error}"
    ))
}

fn token(filter: &Filter, sequence: &str) -> String {
    PageRequest::token(&format!("{}/{sequence}", filter.mark()))
}

fn from_token(filter: &Filter, token: &str) -> Result<u64, Error> {
    token
        .split_once('/')
        .filter(|(mark, _)| *mark == filter.mark())
        .and_then(|(_, sequence)| sequence.parse().ok())
        .ok_or_else(|| {
            Error::invalid(
                "page_token",
                token,
                "the next_page_token of the previous page, with the same filter",
            )
        })
}
