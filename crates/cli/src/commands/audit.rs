//! The event log. Each service keeps the events of its own store; here they are read together.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, Subcommand};
use futures::TryStreamExt;
use photon_api::chainfire::v1::{Event, ListEventsRequest, Outcome, VerifyChainRequest};
use photon_client::call::Resource;
use photon_client::{COMPONENTS, Component, component};
use serde_json::json;

use super::{asked, present};
use crate::error::Failure;
use crate::noun::{Desk, Listed};
use crate::output::{Column, Shape, to_json, to_rows};

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
    #[command(visible_alias = "ls")]
    List(Listed<Filter>),
    /// Recompute the hashes of the organization's chains, from the first event that is kept (FROM) on, and name the first
    /// one that was altered, removed or reordered. Fails (exit code 1) if there is one.
    Verify {
        /// Only of this service.
        #[arg(long, value_parser = Services)]
        service: Option<&'static Component>,
        /// A head kept from an earlier verification, as SERVICE:SEQUENCE:HASH: shows a log that was cut off
        /// and grown anew. Can be repeated.
        #[arg(long = "known-head", value_parser = parse_head)]
        known_heads: Vec<Head>,
        #[command(flatten)]
        shape: Shape,
    },
}

/// Which events.
#[derive(Args)]
pub struct Filter {
    /// Only of this service.
    #[arg(long, value_parser = Services)]
    service: Option<&'static Component>,
    /// Only by this principal (id).
    #[arg(long, default_value = "", hide_default_value = true)]
    principal: String,
    /// Only actions that begin so, for example `compute:`.
    #[arg(long, default_value = "", hide_default_value = true)]
    action: String,
    /// Only resources that begin so.
    #[arg(long, default_value = "", hide_default_value = true)]
    resource: String,
    /// Only what was refused.
    #[arg(long)]
    denied: bool,
}

/// The services by name.
#[derive(Clone)]
struct Services;

impl TypedValueParser for Services {
    type Value = &'static Component;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let names = COMPONENTS.into_iter().map(|component| component.name);
        let name =
            clap::builder::PossibleValuesParser::new(names).parse_ref(command, argument, value)?;
        component(&name).ok_or_else(|| clap::Error::new(ErrorKind::InvalidValue).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let value = |component: &Component| PossibleValue::new(component.name);
        Some(Box::new(COMPONENTS.into_iter().map(value)))
    }
}

/// The services whose chains are read: every one of the cloud's, unless one was asked for.
fn wanted(service: Option<&'static Component>) -> Vec<&'static Component> {
    match service {
        Some(service) => vec![service],
        None => COMPONENTS.to_vec(),
    }
}

/// A chain's head as the reader kept it.
#[derive(Clone)]
pub struct Head {
    service: &'static Component,
    sequence: u64,
    hash: String,
}

fn parse_head(text: &str) -> Result<Head, String> {
    let mut parts = text.splitn(3, ':');
    let wrong = || "expected SERVICE:SEQUENCE:HASH as `photon audit verify` prints it".to_owned();
    let service = parts.next().ok_or_else(wrong)?;
    Ok(Head {
        service: component(service).ok_or_else(wrong)?,
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
pub async fn run(command: AuditCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        AuditCommand::List(of) => list(of.filter, &of.shape, desk).await,
        AuditCommand::Verify {
            service,
            known_heads,
            shape,
        } => verify(service, &known_heads, &shape, desk).await,
    }
}

async fn list(filter: Filter, shape: &Shape, desk: &Desk<'_>) -> Result<(), Failure> {
    let outcome = match filter.denied {
        true => Outcome::Denied,
        false => Outcome::Unspecified,
    };
    let mut events = Vec::new();
    for service in wanted(filter.service) {
        let request = ListEventsRequest {
            org_id: desk.session.org.clone(),
            principal_id: filter.principal.clone(),
            action_prefix: filter.action.clone(),
            resource_prefix: filter.resource.clone(),
            outcome: outcome.into(),
            ..Default::default()
        };
        let asking = desk.session.list_at(service.name, request).try_collect();
        let named = filter.service.is_some();
        let asked: Option<Vec<_>> = asked(desk, service, named, "events", asking).await?;
        events.extend(asked.unwrap_or_default());
    }
    // Chains are ordered each by itself; people read them by time.
    events.sort_by_key(|event: &Event| {
        let time = event.time.unwrap_or_default();
        (time.seconds, time.nanos, event.sequence)
    });
    desk.output
        .rows(to_rows(&events)?, COLUMNS, shape, Some(Event::NAME))
}

async fn verify(
    service: Option<&'static Component>,
    known_heads: &[Head],
    shape: &Shape,
    desk: &Desk<'_>,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for of in wanted(service) {
        let known = known_heads.iter().find(|head| head.service == of);
        let request = VerifyChainRequest {
            org_id: desk.session.org.clone(),
            known_sequence: known.map_or(0, |head| head.sequence),
            known_hash: known.map_or_else(String::new, |head| head.hash.clone()),
        };
        let named = service.is_some() || known.is_some();
        let asking = desk.session.call_at(of.name, request);
        let Some(answer) = asked(desk, of, named, "events", asking).await? else {
            continue;
        };
        let name = of.name;
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
    desk.output.rows(
        rows,
        &[
            ("SERVICE", "service"),
            ("INTACT", "intact"),
            ("FROM", "first_sequence"),
            ("EVENTS", "events"),
            ("FIRST BAD", "first_bad_sequence"),
            ("PROBLEM", "problem"),
            ("HEAD", "head"),
        ],
        shape,
        None,
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
