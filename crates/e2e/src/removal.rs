//! Taking a tenant away: everything that it has, and then the tenant.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use photon_api::iam::v1::{
    DeleteOrganizationRequest, DeletePrincipalRequest, DeleteProjectRequest,
    GetOrganizationRequest, ListOrganizationsRequest, ListPrincipalsRequest, ListProjectsRequest,
};
use photon_api::plasmavmc::v1::{
    DeleteImageRequest, DeleteVmRequest, ListImagesRequest, ListVmsRequest,
};
use photon_api::prismnet::v1::{
    DeletePortRequest, DeleteSecurityGroupRequest, DeleteSubnetRequest, DeleteVpcRequest,
    ListPortsRequest, ListSecurityGroupsRequest, ListSubnetsRequest, ListVpcsRequest,
};
use photon_client::call::{List, Of};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

use crate::Session;
use crate::progress::say;

/// A guest has half a minute to power down before it is quit; several may share a processor.
const VMS_GONE: Duration = Duration::from_secs(180);

/// Deletions under way at a time.
const AT_ONCE: usize = 16;

impl Session {
    /// All that a list of the session's organization and project has.
    pub(crate) async fn every<R: List>(&self) -> Result<Vec<R::Item>, photon_client::Error> {
        let request = R::default().within(&self.org, &self.project);
        self.all(request).await
    }
}

/// Deletes each by its id, several at a time; what is gone already is as good.
async fn delete_all<R>(session: &Session, ids: impl IntoIterator<Item = String>) -> Result<()>
where
    R: Of + Send + Sync,
    R::Answer: Send,
{
    let mut deleting = JoinSet::new();
    for id in ids {
        if deleting.len() >= AT_ONCE {
            settle(deleting.join_next().await)?;
        }
        let session = session.clone();
        deleting.spawn(async move {
            let deleted = session.call(R::of(&id)).await;
            deleted.map(drop).map_err(|error| (id, error))
        });
    }
    while let Some(deleted) = deleting.join_next().await {
        settle(Some(deleted))?;
    }
    Ok(())
}

type Deleted = Result<Result<(), (String, photon_client::Error)>, tokio::task::JoinError>;

fn settle(deleted: Option<Deleted>) -> Result<()> {
    match deleted {
        Some(Ok(Err((_, error)))) if error.code() == Some(Code::NotFound) => Ok(()),
        Some(Ok(Err((id, error)))) => Err(error).with_context(|| format!("cannot delete {id}")),
        Some(Ok(Ok(()))) | None => Ok(()),
        Some(Err(error)) => Err(error.into()),
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
    let ids = principals.into_iter().map(|principal| principal.id);
    delete_all::<DeletePrincipalRequest>(operator, ids).await?;
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
    let vms = project.every::<ListVmsRequest>().await?;
    let ids = vms.into_iter().map(|vm| vm.id);
    delete_all::<DeleteVmRequest>(project, ids).await?;
    vms_gone(project).await?;

    let images = project.every::<ListImagesRequest>().await?;
    let own = images
        .into_iter()
        .filter(|image| image.org_id == project.org);
    let ids = own.map(|image| image.id);
    delete_all::<DeleteImageRequest>(project, ids).await?;

    let ports = project.every::<ListPortsRequest>().await?;
    let ids = ports.into_iter().map(|port| port.id);
    delete_all::<DeletePortRequest>(project, ids).await?;

    let groups = project.every::<ListSecurityGroupsRequest>().await?;
    // The project's default group is there without anybody having made it.
    let made = groups.into_iter().filter(|group| !group.is_default);
    let ids = made.map(|group| group.id);
    delete_all::<DeleteSecurityGroupRequest>(project, ids).await?;

    let subnets = project.every::<ListSubnetsRequest>().await?;
    let ids = subnets.into_iter().map(|subnet| subnet.id);
    delete_all::<DeleteSubnetRequest>(project, ids).await?;

    let vpcs = project.every::<ListVpcsRequest>().await?;
    let ids = vpcs.into_iter().map(|vpc| vpc.id);
    delete_all::<DeleteVpcRequest>(project, ids).await?;

    let left = left(project).await?;
    ensure!(
        left.is_empty(),
        "still there after deletion: {}",
        left.join(", ")
    );
    Ok(())
}

/// A deleted VM is listed until its host has removed it.
async fn vms_gone(project: &Session) -> Result<()> {
    let deadline = Instant::now() + VMS_GONE;
    loop {
        let vms = project.every::<ListVmsRequest>().await?;
        if vms.is_empty() {
            return Ok(());
        }
        let seen: Vec<String> = vms
            .iter()
            .map(|vm| {
                format!(
                    "{} on {}: {:?} {}",
                    vm.name,
                    vm.node,
                    vm.phase(),
                    vm.status_message
                )
            })
            .collect();
        ensure!(
            Instant::now() < deadline,
            "VMs are still there {} s after they were deleted: {}",
            VMS_GONE.as_secs(),
            seen.join("; ")
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
