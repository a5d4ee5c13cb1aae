//! Quotas: how much a project, and its organization with all of its projects, may have, and has. Each server counts what it
//! keeps; here they are shown together, and each is set where it is counted.

use clap::{Args, Subcommand};
use photon_api::components;
use photon_api::quota::v1::{GetQuotasRequest, GetQuotasResponse, Quota, SetQuotaRequest};
use photon_client::{Component, component};
use serde_json::{Value, json};
use tonic::Code;

use super::size::{parse_bytes, parse_mib, show_bytes, show_mib};
use super::{asked, present};
use crate::error::Failure;
use crate::noun::{Changing, Desk};
use crate::output::{Column, Shape};

const OF_PROJECT: [Column; 2] = [("USED", "project.used"), ("LIMIT", "project.limit")];
const OF_ORGANIZATION: [Column; 2] = [
    ("ORG USED", "organization.used"),
    ("ORG LIMIT", "organization.limit"),
];

/// Quotas.
#[derive(Subcommand)]
pub enum QuotaCommand {
    /// Show how much the project (--project) and the organization (--org) may have, and have.
    ///
    /// A limit is the server's default unless one was set.
    Show(Shape),
    /// Set how much a project (--project), or else an organization (--org) with all of its projects, may have (operators).
    ///
    /// What is there already stays, also beyond it. For example:
    /// `photon quota set vcpus=64 memory=128GiB --org acme --project web`.
    Set(Changing<Settings>),
}

/// What is set.
#[derive(Args)]
pub struct Settings {
    /// How much of what: `vcpus=64`, `memory=128GiB`; `vcpus=default`: as the server's settings say.
    ///
    /// `photon quota show` names what there is. Several are set one after the other.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<Setting>,
    /// Of the whole organization, although the context has a project.
    #[arg(long)]
    whole_org: bool,
}

/// One of them, as it was given.
#[derive(Clone)]
struct Setting {
    name: String,
    value: String,
}

fn parse_setting(text: &str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Setting {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err("expected NAME=VALUE, such as vcpus=64, memory=128GiB or vms=default".to_owned()),
    }
}

/// `photon quota`
pub async fn run(command: QuotaCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        QuotaCommand::Show(shape) => show(desk, &shape).await,
        QuotaCommand::Set(change) => set(change, desk).await,
    }
}

/// The services where tenants have things: IAM, and those that it asks before it deletes a tenant.
fn counting() -> impl Iterator<Item = &'static Component> {
    let asked = components::IAM.programs.iter().flat_map(|it| it.calls);
    std::iter::once(&components::IAM).chain(asked.filter_map(|name| component(name)))
}

/// What each service counts, in a project or, without one, in an organization.
async fn counted(
    desk: &Desk<'_>,
    project: &str,
) -> Result<Vec<(&'static Component, GetQuotasResponse)>, Failure> {
    let mut counted = Vec::new();
    for service in counting() {
        let request = GetQuotasRequest {
            org_id: desk.session.org.clone(),
            project_id: project.to_owned(),
        };
        let asking = desk.session.call_at(service.name, request);
        match asked(desk, service, false, "quotas", asking).await {
            Ok(answer) => counted.extend(answer.map(|answer| (service, answer))),
            // Of the release before.
            Err(failure) if failure.code() == Some(Code::Unimplemented) => {}
            // With an operator's token, which is for no organization.
            Err(failure)
                if failure.code() == Some(Code::InvalidArgument) && desk.session.org.is_empty() =>
            {
                return Err(Failure::Local(
                    "the cloud itself has no quota: say whose is meant (--org ORG, --project PROJECT)".into(),
                ));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(counted)
}

async fn show(desk: &Desk<'_>, shape: &Shape) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut of_project = false;
    for (service, answer) in counted(desk, &desk.session.project).await? {
        let (project, organization) = match answer.project_id.as_str() {
            "" => (Vec::new(), answer.quotas),
            _ => (answer.quotas, answer.organization_quotas),
        };
        of_project |= !project.is_empty();
        // What only an organization has comes first there.
        let mut names: Vec<&str> = organization.iter().map(|it| it.name.as_str()).collect();
        let further = project.iter().map(|it| it.name.as_str());
        let further: Vec<&str> = further.filter(|name| !names.contains(name)).collect();
        names.extend(further);
        for name in names {
            let of = |quotas: &[Quota]| {
                let found = quotas.iter().find(|it| it.name == name);
                found.map_or(Value::Null, |it| amounts(it, desk.output.for_people()))
            };
            rows.push(json!({
                "service": service.name,
                "name": name,
                "project": of(&project),
                "organization": of(&organization),
            }));
        }
    }
    desk.output
        .rows(rows, &columns(of_project, true), shape, None)
}

fn columns(of_project: bool, of_organization: bool) -> Vec<Column> {
    let mut columns = vec![("SERVICE", "service"), ("QUANTITY", "name")];
    columns.extend(OF_PROJECT.iter().filter(|_| of_project));
    columns.extend(OF_ORGANIZATION.iter().filter(|_| of_organization));
    columns
}

/// A quota for people, with units and where its limit is from, or as the API has it.
fn amounts(quota: &Quota, for_people: bool) -> Value {
    let Quota {
        used, limit, set, ..
    } = quota;
    if !for_people {
        return json!({"used": used, "limit": limit, "set": set});
    }
    let show = |amount: u64| match unit_of(&quota.name) {
        Unit::Bytes => show_bytes(amount),
        Unit::Mib => show_mib(amount),
        Unit::One => amount.to_string(),
    };
    let default = if *set { "" } else { " (default)" };
    json!({"used": show(*used), "limit": format!("{}{default}", show(*limit))})
}

/// What a quota counts.
enum Unit {
    One,
    Mib,
    Bytes,
}

/// Names say it at their end: `disk_bytes`.
fn unit_of(name: &str) -> Unit {
    match name.rsplit('_').next() {
        Some("bytes") => Unit::Bytes,
        Some("mib") => Unit::Mib,
        _ => Unit::One,
    }
}

impl Setting {
    /// Whether a quota of this name is meant: `memory` is `memory_mib`.
    fn means(&self, name: &str) -> bool {
        let short = name.strip_suffix("_mib").or(name.strip_suffix("_bytes"));
        name == self.name || short == Some(&self.name)
    }

    /// The limit; `None`: the default.
    fn limit(&self, name: &str) -> Result<Option<u64>, Failure> {
        let Setting { value, .. } = self;
        if value == "default" {
            return Ok(None);
        }
        let limit = match unit_of(name) {
            Unit::Bytes => parse_bytes(value),
            Unit::Mib => parse_mib(value),
            Unit::One => value
                .parse()
                .map_err(|_| "expected a number such as 64".to_owned()),
        };
        let wrong = |why| Failure::Local(format!("{}={value}: {why}, or default", self.name));
        limit.map(Some).map_err(wrong)
    }
}

async fn set(change: Changing<Settings>, desk: &Desk<'_>) -> Result<(), Failure> {
    let Changing { flags, once } = change;
    let project = match flags.whole_org {
        true => "",
        false => desk.session.project.as_str(),
    };
    let counted = counted(desk, project).await?;
    // All is looked at before anything is set.
    let mut wanted: Vec<(&Component, String, Option<u64>)> = Vec::new();
    for setting in &flags.settings {
        let found = counted.iter().find_map(|(service, answer)| {
            let quota = answer.quotas.iter().find(|it| setting.means(&it.name))?;
            Some((*service, quota.name.clone()))
        });
        let Some((service, name)) = found else {
            return Err(unknown(setting, &counted));
        };
        if wanted.iter().any(|(_, other, _)| *other == name) {
            return Err(Failure::Local(format!("{} is set twice", setting.name)));
        }
        let limit = setting.limit(&name)?;
        wanted.push((service, name, limit));
    }
    let mut rows = Vec::new();
    let mut failed = None;
    for (service, name, limit) in wanted {
        let request = SetQuotaRequest {
            // One for each of them, and the same ones if the command is given again.
            request_id: format!("{}.{name}", once.id()),
            org_id: desk.session.org.clone(),
            project_id: project.to_owned(),
            name,
            limit,
        };
        match desk.session.call_at(service.name, request).await {
            Ok(answer) => {
                let quota = present(answer.quota, "quota")?;
                let amounts = amounts(&quota, desk.output.for_people());
                let mut row = json!({"service": service.name, "name": quota.name});
                let scope = if project.is_empty() {
                    "organization"
                } else {
                    "project"
                };
                row[scope] = amounts;
                rows.push(row);
            }
            Err(error) => {
                failed = Some(refused(error.into()));
                break;
            }
        }
    }
    // What was set is said, also if the next could not be.
    if !rows.is_empty() || failed.is_none() {
        let of_project = !project.is_empty();
        let columns = columns(of_project, !of_project);
        desk.output.rows(rows, &columns, &Shape::default(), None)?;
    }
    failed.map_or(Ok(()), Err)
}

/// That there is no such quota, and which there are.
fn unknown(setting: &Setting, counted: &[(&Component, GetQuotasResponse)]) -> Failure {
    let of_organization = counted.iter().any(|(_, answer)| {
        let quotas = &answer.organization_quotas;
        quotas.iter().any(|it| setting.means(&it.name))
    });
    if of_organization {
        return Failure::Local(format!(
            "{} are an organization's and in no project: set them for the whole one (--whole-org)",
            setting.name
        ));
    }
    let quotas = counted.iter().flat_map(|(_, answer)| &answer.quotas);
    let names: Vec<&str> = quotas.map(|it| it.name.as_str()).collect();
    Failure::Local(format!(
        "there is no quota '{}'; there is: {}",
        setting.name,
        names.join(", ")
    ))
}

/// A tenant's roles never permit it, so nobody of the tenant could give one that does.
fn refused(failure: Failure) -> Failure {
    match failure.code() {
        Some(Code::PermissionDenied) => Failure::NotPermitted(
            "only an operator sets quotas: ask whoever runs the cloud. `photon quota show` shows yours.".into(),
        ),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_set_with_their_units() {
        let limit = |text: &str, name: &str| {
            let setting = parse_setting(text).unwrap();
            assert!(setting.means(name), "{text}");
            setting.limit(name).map_err(|failure| failure.to_string())
        };
        assert_eq!(limit("vcpus=64", "vcpus"), Ok(Some(64)));
        assert_eq!(limit("memory=128GiB", "memory_mib"), Ok(Some(128 << 10)));
        assert_eq!(limit("memory_mib=512", "memory_mib"), Ok(Some(512)));
        assert_eq!(limit("disk=2T", "disk_bytes"), Ok(Some(2 << 40)));
        assert_eq!(limit("image_bytes=default", "image_bytes"), Ok(None));
        let text = limit("vcpus=many", "vcpus").unwrap_err();
        assert!(
            text.contains("vcpus=many: expected a number such as 64, or default"),
            "{text}"
        );
        for bad in ["vcpus", "=1", "vcpus="] {
            assert!(parse_setting(bad).is_err(), "{bad}");
        }
        // An image is no number of bytes of images.
        assert!(!parse_setting("images=1").unwrap().means("image_bytes"));
    }
}
