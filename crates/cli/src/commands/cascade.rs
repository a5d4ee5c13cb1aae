//! Removing a project, or an organization, with all that is in it.
//!
//! What is in it goes one by one, by the calls that anybody can make, so that each is authorized and in the record of events.
//! A command that was interrupted is given again, and goes on with what is left.

use std::error::Error as _;
use std::time::Duration;

use clap::Args;
use photon_api::iam::v1::{
    DeletePrincipalRequest, DeleteProjectRequest, GetOrganizationRequest, GetProjectRequest,
    ListPrincipalsRequest, ListProjectsRequest,
};
use photon_client::call::{Call, List, Of};
use photon_client::{Session, Stuck};
use tonic::Code;

use super::confirm;
use super::org::Orgs;
use super::project::Projects;
use crate::error::Failure;
use crate::noun::{Desk, Noun, Once, Removal, Removing};
use crate::output::tell;

/// Guests have half a minute to power down before they are quit, and hosts may have many to end.
const VMS_GONE: Duration = Duration::from_secs(600);

/// One of a noun that holds others, to remove.
#[derive(Args)]
pub struct Cascade<N: Noun> {
    #[command(flatten)]
    removal: Removal<N>,
    /// Remove everything that is in it too: its VMs with their disks, images, networks.
    ///
    /// Says what goes. If it is interrupted or something can't be removed, give it again: it goes on with what is left.
    #[arg(long)]
    cascade: bool,
}

impl Removing for Cascade<Projects> {
    async fn remove(self, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
        if !self.cascade {
            return self.removal.remove(once, desk).await;
        }
        let name = &self.removal.name;
        let project = desk.find::<GetProjectRequest>("project", name).await?;
        let inside = desk.session.within(&project.org_id, &project.id);
        let contents = inside.project_contents().await?;
        let question = match contents.is_empty() {
            true => format!("Remove project {name}, which is empty?"),
            false => format!("Remove project {name} with {}?", counted(&contents)),
        };
        confirm(self.removal.yes, &question)?;
        empty(&inside).await?;
        self.removal.agreed().remove(once, desk).await
    }
}

impl Removing for Cascade<Orgs> {
    async fn remove(self, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
        if !self.cascade {
            return self.removal.remove(once, desk).await;
        }
        let name = &self.removal.name;
        let org = desk.find::<GetOrganizationRequest>("organization", name);
        let inside = desk.session.within(&org.await?.id, "");
        let projects = every::<ListProjectsRequest>(&inside).await?;
        let principals = every::<ListPrincipalsRequest>(&inside).await?;
        let ids: Vec<&str> = projects.iter().map(|it| it.id.as_str()).collect();
        let question = format!(
            "Remove organization {name} with {}, and all that is in its projects ({})?",
            counted(&[("project", projects.len()), ("principal", principals.len())]),
            if ids.is_empty() {
                "none".to_owned()
            } else {
                ids.join(", ")
            },
        );
        confirm(self.removal.yes, &question)?;
        for project in &projects {
            let inside = desk.session.within(&inside.org, &project.id);
            empty(&inside).await?;
            tell!("removing project {}", project.id);
            gone(
                inside
                    .call(DeleteProjectRequest::of(&project.id).within(&inside.org, ""))
                    .await,
            )?;
        }
        for principal in &principals {
            tell!("removing principal {}", principal.name);
            gone(inside.call(DeletePrincipalRequest::of(&principal.id)).await)?;
        }
        self.removal.agreed().remove(once, desk).await
    }
}

async fn every<R: List>(inside: &Session) -> Result<Vec<R::Item>, Failure> {
    Ok(inside.all(R::default().within(&inside.org, "")).await?)
}

/// What is gone already is as good.
fn gone<T>(deleted: Result<T, photon_client::Error>) -> Result<(), Failure> {
    match deleted {
        Err(error) if error.code() == Some(Code::NotFound) => Ok(()),
        deleted => Ok(deleted.map(drop)?),
    }
}

async fn empty(project: &Session) -> Result<(), Failure> {
    let emptied = project
        .empty_project(VMS_GONE, |step| tell!("{step}"))
        .await;
    emptied.map_err(|stuck| match stuck {
        Stuck::Unknown(error) => error.into(),
        Stuck::Late { .. } => {
            Failure::TimedOut(format!("{stuck}; give the command again to go on"))
        }
        Stuck::Kept { .. } => {
            let why = stuck.source().map(ToString::to_string).unwrap_or_default();
            Failure::Local(format!("{stuck}: {why}"))
        }
    })
}

/// `2 VMs, 1 port`.
fn counted(contents: &[(&str, usize)]) -> String {
    let counted = contents.iter().map(|(noun, count)| match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    });
    counted.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_is_counted() {
        assert_eq!(counted(&[("VM", 2), ("port", 1)]), "2 VMs, 1 port");
    }
}
