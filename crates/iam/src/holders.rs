//! The servers that hold things of tenants, as IAM asks them.

use std::fmt;
use std::time::Duration;

use photon_api::components::{self, Component};
use photon_api::tenancy::v1 as api;
use photon_api::tenancy::v1::tenant_service_client::TenantServiceClient;
use photon_program::{Endpoints, Invalid, with_token};
use photon_resource::{Error, OrgId, ProjectId};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// How long each may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// All that IAM asks. Clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Holders(Vec<Holder>);

#[derive(Clone, Debug)]
struct Holder {
    title: &'static str,
    client: TenantServiceClient<Channel>,
}

/// Things of one kind that a tenant still has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub noun: String,
    /// What is more is not counted.
    pub count: u32,
    /// What the first are called.
    pub names: Vec<String>,
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plural, more) = (
            if self.count == 1 { "" } else { "s" },
            if self.count as usize > self.names.len() {
                ", …"
            } else {
                ""
            },
        );
        let names = self.names.join(", ");
        write!(f, "{} {}{plural} ({names}{more})", self.count, self.noun)
    }
}

impl Holders {
    /// The servers of these components. Connects when they are first asked.
    ///
    /// Errors: one has an URL or a file that can't be used.
    pub fn new(asked: &[&'static Component], endpoints: &Endpoints) -> Result<Self, Invalid> {
        let holder = |component: &&'static Component| {
            Ok(Holder {
                title: component.title,
                client: TenantServiceClient::new(endpoints.channel(component)?),
            })
        };
        asked.iter().map(holder).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is nobody to ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they hold of an organization, or of one of its projects.
    ///
    /// Errors: `Unavailable` if one of them can't be asked.
    pub async fn holdings(
        &self,
        token: &str,
        org: &OrgId,
        project: Option<&ProjectId>,
    ) -> Result<Vec<Holding>, Error> {
        let message = api::ListHoldingsRequest {
            org_id: org.to_string(),
            project_id: project.map(ToString::to_string).unwrap_or_default(),
        };
        let mut found = Vec::new();
        for holder in &self.0 {
            let mut client = holder.client.clone();
            let asked = client.list_holdings(request(message.clone(), token)?);
            let answer = holder.answered(asked.await)?;
            found.extend(answer.holdings.into_iter().map(Holding::from));
        }
        Ok(found)
    }

    /// Has them make nothing in the project for a while, in which it can be deleted. What comes back is what one of them still
    /// holds.
    ///
    /// Errors: `Unavailable` if one of them can't be asked.
    pub async fn close(
        &self,
        token: &str,
        org: &OrgId,
        project: &ProjectId,
    ) -> Result<Vec<Holding>, Error> {
        let message = api::CloseProjectRequest {
            org_id: org.to_string(),
            project_id: project.to_string(),
        };
        let mut found = Vec::new();
        for holder in &self.0 {
            let mut client = holder.client.clone();
            let asked = client.close_project(request(message.clone(), token)?);
            let answer = holder.answered(asked.await)?;
            found.extend(answer.holdings.into_iter().map(Holding::from));
        }
        Ok(found)
    }
}

impl Holder {
    fn answered<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Error> {
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                tracing::warn!(component = self.title, %status, "can't be asked what it holds of a tenant");
                Err(Error::Unavailable(format!(
                    "{} can't be asked what it still holds, so that nothing was deleted: try again when it answers",
                    self.title
                )))
            }
        }
    }
}

impl From<api::Holding> for Holding {
    fn from(wire: api::Holding) -> Self {
        Self {
            noun: wire.noun,
            count: wire.count,
            names: wire.names,
        }
    }
}

fn request<T>(message: T, token: &str) -> Result<Request<T>, Error> {
    let mut request = with_token(message, token, "")?;
    request.set_timeout(DEADLINE);
    Ok(request)
}

/// The components that IAM asks, by their names; `None`: all that it calls.
///
/// Errors: the name of another.
pub(crate) fn asked(names: Option<&[String]>) -> Result<Vec<&'static Component>, Invalid> {
    let called = components::IAM
        .programs
        .iter()
        .flat_map(|program| program.calls)
        .filter_map(|name| components::component(name));
    let Some(names) = names else {
        return Ok(called.collect());
    };
    let known: Vec<_> = called.collect();
    names
        .iter()
        .map(|name| {
            let found = known.iter().find(|it| it.name == name).copied();
            found.ok_or_else(|| {
                let names: Vec<_> = known.iter().map(|it| it.name).collect();
                let expected = format!("some of {}", names.join(", "));
                Invalid::new("iam.tenant_holders", name, expected)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_and_named() {
        let holding = |noun: &str, count, names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let noun = noun.to_owned();
            Holding { noun, count, names }.to_string()
        };
        assert_eq!(holding("VPC", 1, &["main"]), "1 VPC (main)");
        assert_eq!(holding("VM", 2, &["w1", "w2"]), "2 VMs (w1, w2)");
        assert_eq!(
            holding("VM", 40, &["w1", "w2", "w3"]),
            "40 VMs (w1, w2, w3, …)"
        );
    }

    #[test]
    fn everybody_who_may_hold_something_is_asked_unless_it_is_said_that_it_is_not_there() {
        let names = |asked: Vec<&'static Component>| -> Vec<_> {
            asked.into_iter().map(|component| component.name).collect()
        };
        let all = ["prismnet", "plasmavmc", "flashdns"];
        assert_eq!(names(asked(None).unwrap()), all);
        let some = ["prismnet".to_owned()];
        assert_eq!(names(asked(Some(&some)).unwrap()), ["prismnet"]);
        assert!(asked(Some(&[])).unwrap().is_empty());
        let refusal = asked(Some(&["iam".to_owned()])).unwrap_err().to_string();
        assert!(
            refusal.contains("some of prismnet, plasmavmc, flashdns"),
            "{refusal}"
        );
    }
}
