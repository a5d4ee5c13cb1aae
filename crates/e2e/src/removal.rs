//! Taking a tenant away: everything that it has, and then the tenant.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use photon_api::iam::v1::{
    DeleteOrganizationRequest, DeletePrincipalRequest, DeleteProjectRequest,
    GetOrganizationRequest, ListOrganizationsRequest, ListPrincipalsRequest, ListProjectsRequest,
};
use photon_api::plasmavmc::v1::{ListImagesRequest, ListVmsRequest};
use photon_api::prismnet::v1::{ListPortsRequest, ListSubnetsRequest, ListVpcsRequest};
use photon_client::call::{List, Of};
use tonic::Code;

use crate::Session;
use crate::progress::say;

/// A guest has half a minute to power down before it is quit; several may share a processor.
const VMS_GONE: Duration = Duration::from_secs(180);

impl Session {
    /// All that a list of the session's organization and project has.
    pub(crate) async fn every<R: List>(&self) -> Result<Vec<R::Item>, photon_client::Error> {
        let request = R::default().within(&self.org, &self.project);
        self.all(request).await
    }
}

/// Stands in the description of an organization that was made to be removed again. Without it an organization
/// is somebody's own, whatever its name.
pub const MARK: &str = "Made by photon-e2e, which removes it.";

/// The organizations that runs made, of those whose ids begin so.
pub async fn organizations(operator: &Session, prefix: &str) -> Result<Vec<String>> {
    let all = operator.every::<ListOrganizationsRequest>().await?;
    let made = all
        .into_iter()
        .filter(|org| org.id.starts_with(prefix) && org.description == MARK);
    Ok(made.map(|org| org.id).collect())
}

/// As the operator: removes the organization with all that it has; nothing happens if there is none.
///
/// # Errors
/// When something of it could not be removed, or is still there afterwards.
pub async fn remove(operator: &Session, org: &str) -> Result<()> {
    if is_gone(operator, org).await? {
        return Ok(());
    }
    let inside = operator.within(org, "");
    let projects = inside.every::<ListProjectsRequest>().await?;
    for project in &projects {
        remove_resources(&operator.within(org, &project.id))
            .await
            .with_context(|| format!("cannot empty the project {org}/{}", project.id))?;
    }
    let principals = inside.every::<ListPrincipalsRequest>().await?;
    for principal in principals {
        let deleted = operator
            .call(DeletePrincipalRequest::of(principal.id))
            .await;
        deleted.with_context(|| format!("cannot delete {}", principal.name))?;
    }
    for project in projects {
        inside.here(DeleteProjectRequest::of(project.id)).await?;
    }
    let deleted = operator.call(DeleteOrganizationRequest::of(org)).await;
    deleted.with_context(|| format!("cannot delete the organization {org}"))?;
    ensure!(
        is_gone(operator, org).await?,
        "the organization {org} is still there after it was deleted"
    );
    say(format!("    {org}: removed"));
    Ok(())
}

async fn is_gone(operator: &Session, org: &str) -> Result<bool> {
    match operator.call(GetOrganizationRequest::of(org)).await {
        Ok(_) => Ok(false),
        Err(error) if error.code() == Some(Code::NotFound) => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot ask for {org}")),
    }
}

/// What a project still has, as `kind name`.
async fn left(project: &Session) -> Result<Vec<String>> {
    let mut left = Vec::new();
    macro_rules! collect {
        ($kind:literal, $list:ident) => {
            let found = project.every::<$list>().await?;
            let found = found.into_iter();
            left.extend(found.map(|item| format!(concat!($kind, " {}"), item.name)));
        };
    }
    collect!("VM", ListVmsRequest);
    let images = project.every::<ListImagesRequest>().await?;
    // Public images are listed too, and are not the project's.
    let own = images
        .into_iter()
        .filter(|image| image.org_id == project.org);
    left.extend(own.map(|image| format!("image {}", image.name)));
    collect!("port", ListPortsRequest);
    collect!("subnet", ListSubnetsRequest);
    collect!("VPC", ListVpcsRequest);
    Ok(left)
}

async fn remove_resources(project: &Session) -> Result<()> {
    project.empty_project(VMS_GONE, |_| {}).await?;
    let left = left(project).await?;
    ensure!(
        left.is_empty(),
        "still there after deletion: {}",
        left.join(", ")
    );
    Ok(())
}
