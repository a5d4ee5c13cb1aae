//! The event log. Each service keeps the events of its own store; here they are read together.

use clap::{Args, Subcommand, ValueEnum};
use photon_api::chainfire::v1::{ListEventsRequest, Outcome, VerifyChainRequest};
use serde_json::json;

use super::{all_pages, present};
use crate::error::Failure;
use crate::output::{Column, Output, to_json};
use crate::session::{Service, Session};

const COLUMNS: &[Column] = &[
    ("TIME", "time"),
    ("SERVICE", "service"),
    ("SEQ", "sequence"),
    ("PRINCIPAL", "principal_name"),
    ("SOURCE", "source"),
    ("ACTION", "action"),
    ("RESOURCE", "resource"),
    ("OUTCOME", "outcome"),
    ("REASON", "reason"),
];

/// The event log.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// List events of the organization (--org), oldest first.
    List(Filter),
    /// Recompute the hashes of the organization's chains and name the first event that was altered, removed
    /// or reordered. Fails (exit code 1) if there is one.
    Verify {
        /// Only of this service.
        #[arg(long, value_enum)]
        service: Option<ServiceName>,
        /// A head kept from an earlier verification, as SERVICE:SEQUENCE:HASH: shows a log that was cut off
        /// and grown anew. Can be repeated.
        #[arg(long = "known-head", value_parser = parse_head)]
        known_heads: Vec<Head>,
    },
}

/// Which events.
#[derive(Args)]
pub struct Filter {
    /// Only of this service.
    #[arg(long, value_enum)]
    service: Option<ServiceName>,
    /// Only by this principal (id).
    #[arg(long, default_value = "")]
    principal: String,
    /// Only actions that begin so, for example `compute:`.
    #[arg(long, default_value = "")]
    action: String,
    /// Only resources that begin so.
    #[arg(long, default_value = "")]
    resource: String,
    /// Only what was refused.
    #[arg(long)]
    denied: bool,
}

/// The services by name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServiceName {
    /// Identities.
    Iam,
    /// Networks.
    Prismnet,
    /// Images and VMs.
    Plasmavmc,
    /// Machines.
    Provisioner,
}

impl From<ServiceName> for Service {
    fn from(name: ServiceName) -> Self {
        match name {
            ServiceName::Iam => Self::Iam,
            ServiceName::Prismnet => Self::Prismnet,
            ServiceName::Plasmavmc => Self::Plasmavmc,
            ServiceName::Provisioner => Self::Provisioner,
        }
    }
}

fn wanted(service: Option<ServiceName>, session: &Session) -> Vec<Service> {
    if let Some(name) = service {
        return vec![name.into()];
    }
    let mut all = Service::ALL.to_vec();
    // A cloud of one host has no provisioner; whoever has one, has told where.
    if session.context.provisioner.is_some() {
        all.push(Service::Provisioner);
    }
    all
}

/// A chain's head as the reader kept it.
#[derive(Clone)]
pub struct Head {
    service: ServiceName,
    sequence: u64,
    hash: String,
}

fn parse_head(text: &str) -> Result<Head, String> {
    let mut parts = text.splitn(3, ':');
    let wrong = || "expected SERVICE:SEQUENCE:HASH as `photon audit verify` prints it".to_owned();
    let service = parts.next().ok_or_else(wrong)?;
    Ok(Head {
        service: ServiceName::from_str(service, true).map_err(|_| wrong())?,
        sequence: parts
            .next()
            .and_then(|part| part.parse().ok())
            .ok_or_else(wrong)?,
        hash: parts
            .next()
            .filter(|hash| hash.len() == 64)
            .ok_or_else(wrong)?
            .to_owned(),
    })
}

/// `photon audit`
pub async fn run(command: AuditCommand, session: &Session, output: &Output) -> Result<(), Failure> {
    match command {
        AuditCommand::List(filter) => list(filter, session, output).await,
        AuditCommand::Verify {
            service,
            known_heads,
        } => verify(service, &known_heads, session, output).await,
    }
}

async fn list(filter: Filter, session: &Session, output: &Output) -> Result<(), Failure> {
    let outcome = if filter.denied {
        Outcome::Denied
    } else {
        Outcome::Unspecified
    };
    let mut events = Vec::new();
    for service in wanted(filter.service, session) {
        let mut client = session.events(service).await?;
        let request = ListEventsRequest {
            org_id: session.org(),
            principal_id: filter.principal.clone(),
            action_prefix: filter.action.clone(),
            resource_prefix: filter.resource.clone(),
            outcome: outcome.into(),
            page_size: 1000,
            ..Default::default()
        };
        events.extend(all_pages!(client, list_events, events, request));
    }
    // Chains are ordered each by itself; people read them by time.
    events.sort_by_key(|event| {
        let time = event.time.unwrap_or_default();
        (time.seconds, time.nanos, event.sequence)
    });
    output.many("chainfire.v1.Event", &events, COLUMNS)
}

async fn verify(
    service: Option<ServiceName>,
    known_heads: &[Head],
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for service in wanted(service, session) {
        let known = known_heads
            .iter()
            .find(|head| Service::from(head.service) == service);
        let request = VerifyChainRequest {
            org_id: session.org(),
            known_sequence: known.map_or(0, |head| head.sequence),
            known_hash: known.map_or_else(String::new, |head| head.hash.clone()),
        };
        let answer = session
            .events(service)
            .await?
            .verify_chain(request)
            .await?
            .into_inner();
        let name = service.name().to_lowercase();
        if !answer.intact {
            broken.push(format!(
                "{name}: event {} {}",
                answer.first_bad_sequence, answer.problem
            ));
        }
        let mut row = to_json("chainfire.v1.VerifyChainResponse", &answer)?;
        let head = format!("{name}:{}:{}", answer.head_sequence, answer.head_hash);
        let fields = present(row.as_object_mut(), "result")?;
        fields.insert("service".into(), json!(name));
        fields.insert("head".into(), json!(head));
        rows.push(row);
    }
    output.rows(
        rows,
        &[
            ("SERVICE", "service"),
            ("INTACT", "intact"),
            ("EVENTS", "events"),
            ("FIRST BAD", "first_bad_sequence"),
            ("PROBLEM", "problem"),
            ("HEAD", "head"),
        ],
    )?;
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Failure::Local(format!(
            "the event log was tampered with: {}",
            broken.join("; ")
        )))
    }
}
