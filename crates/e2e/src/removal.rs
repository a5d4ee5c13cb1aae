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
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::Session;
use crate::progress::say;

/// A guest has half a minute to power down before it is quit; several may share a processor.
const VMS_GONE: Duration = Duration::from_secs(180);

/// Deletions under way at a time.
const AT_ONCE: usize = 16;

/// All items of a list, one page after the other.
macro_rules! every {
    ($client:expr, $list:ident($request:ident { $($field:ident: $value:expr),* }), $items:ident) => {{
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            // Some requests have more fields than these, some do not.
            #[allow(clippy::needless_update)]
            let request = $request {
                $($field: $value,)*
                page_size: 1000,
                page_token: token,
                ..Default::default()
            };
            let page = $client.$list(request).await?.into_inner();
            all.extend(page.$items);
            token = page.next_page_token;
            if token.is_empty() {
                break all;
            }
        }
    }};
}
pub(crate) use every;

/// Deletes each by its id, several at a time; what is gone already is as good.
macro_rules! delete_all {
    ($ids:expr, $client:expr, $delete:ident($request:ident)) => {{
        let mut deleting = JoinSet::new();
        for id in $ids {
            if deleting.len() >= AT_ONCE {
                settle(deleting.join_next().await)?;
            }
            let mut client = $client;
            deleting.spawn(async move {
                let request = $request {
                    id: id.clone(),
                    ..Default::default()
                };
                client.$delete(request).await.map(drop).map_err(|e| (id, e))
            });
        }
        while let Some(deleted) = deleting.join_next().await {
            settle(Some(deleted))?;
        }
    }};
}

type Deleted = Result<Result<(), (String, Status)>, tokio::task::JoinError>;

fn settle(deleted: Option<Deleted>) -> Result<()> {
    match deleted {
        Some(Ok(Err((_, status)))) if status.code() == Code::NotFound => Ok(()),
        Some(Ok(Err((id, status)))) => Err(status).with_context(|| format!("cannot delete {id}")),
        Some(Ok(Ok(()))) | None => Ok(()),
        Some(Err(error)) => Err(error.into()),
    }
}

/// Stands in the description of an organization that was made to be removed again. Without it an organization
/// is somebody's own, whatever its name.
pub const MARK: &str = "Made by photon-e2e, which removes it.";

/// The organizations that runs made, of those whose ids begin so.
pub async fn organizations(operator: &Session, prefix: &str) -> Result<Vec<String>> {
    let all = every!(
        operator.admin(),
        list_organizations(ListOrganizationsRequest {}),
        organizations
    );
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
    let projects = every!(
        operator.admin(),
        list_projects(ListProjectsRequest { org_id: org.into() }),
        projects
    );
    for project in &projects {
        remove_resources(&operator.within(org, &project.id))
            .await
            .with_context(|| format!("cannot empty the project {org}/{}", project.id))?;
    }
    let principals = every!(
        operator.admin(),
        list_principals(ListPrincipalsRequest { org_id: org.into() }),
        principals
    );
    let ids = principals.into_iter().map(|principal| principal.id);
    delete_all!(
        ids,
        operator.admin(),
        delete_principal(DeletePrincipalRequest)
    );
    for project in projects {
        let request = DeleteProjectRequest {
            org_id: org.into(),
            id: project.id,
            ..Default::default()
        };
        operator.admin().delete_project(request).await?;
    }
    let request = DeleteOrganizationRequest {
        id: org.into(),
        ..Default::default()
    };
    let deleted = operator.admin().delete_organization(request).await;
    deleted.with_context(|| format!("cannot delete the organization {org}"))?;
    ensure!(
        is_gone(operator, org).await?,
        "the organization {org} is still there after it was deleted"
    );
    say(format!("    {org}: removed"));
    Ok(())
}

async fn is_gone(operator: &Session, org: &str) -> Result<bool> {
    let request = GetOrganizationRequest { id: org.into() };
    match operator.admin().get_organization(request).await {
        Ok(_) => Ok(false),
        Err(status) if status.code() == Code::NotFound => Ok(true),
        Err(status) => Err(status).with_context(|| format!("cannot ask for {org}")),
    }
}

/// What a project still has, as `kind name`.
async fn left(project: &Session) -> Result<Vec<String>> {
    let (org_id, project_id) = (&project.org, &project.project);
    let mut left = Vec::new();
    macro_rules! collect {
        ($kind:literal, $client:expr, $list:ident($request:ident), $items:ident, $keep:expr) => {
            let found = every!(
                $client,
                $list($request {
                    org_id: org_id.clone(),
                    project_id: project_id.clone()
                }),
                $items
            );
            let found = found.into_iter().filter($keep);
            left.extend(found.map(|item| format!(concat!($kind, " {}"), item.name)));
        };
    }
    collect!("VM", project.vms(), list_vms(ListVmsRequest), vms, |_| true);
    // Public images are listed too, and are not the project's.
    collect!(
        "image",
        project.images(),
        list_images(ListImagesRequest),
        images,
        |image| { image.org_id == *org_id }
    );
    collect!(
        "port",
        project.ports(),
        list_ports(ListPortsRequest),
        ports,
        |_| true
    );
    collect!(
        "subnet",
        project.subnets(),
        list_subnets(ListSubnetsRequest),
        subnets,
        |_| true
    );
    collect!(
        "VPC",
        project.vpcs(),
        list_vpcs(ListVpcsRequest),
        vpcs,
        |_| true
    );
    Ok(left)
}

async fn remove_resources(project: &Session) -> Result<()> {
    let org_id = || project.org.clone();
    let project_id = || project.project.clone();
    let vms = every!(
        project.vms(),
        list_vms(ListVmsRequest {
            org_id: org_id(),
            project_id: project_id()
        }),
        vms
    );
    let ids = vms.into_iter().map(|vm| vm.id);
    delete_all!(ids, project.vms(), delete_vm(DeleteVmRequest));
    vms_gone(project).await?;

    let images = every!(
        project.images(),
        list_images(ListImagesRequest {
            org_id: org_id(),
            project_id: project_id()
        }),
        images
    );
    let own = images
        .into_iter()
        .filter(|image| image.org_id == project.org);
    let ids = own.map(|image| image.id);
    delete_all!(ids, project.images(), delete_image(DeleteImageRequest));

    let ports = every!(
        project.ports(),
        list_ports(ListPortsRequest {
            org_id: org_id(),
            project_id: project_id()
        }),
        ports
    );
    let ids = ports.into_iter().map(|port| port.id);
    delete_all!(ids, project.ports(), delete_port(DeletePortRequest));

    let groups = every!(
        project.security_groups(),
        list_security_groups(ListSecurityGroupsRequest {
            org_id: org_id(),
            project_id: project_id()
        }),
        security_groups
    );
    // The project's default group is there without anybody having made it.
    let made = groups.into_iter().filter(|group| !group.is_default);
    let ids = made.map(|group| group.id);
    delete_all!(
        ids,
        project.security_groups(),
        delete_security_group(DeleteSecurityGroupRequest)
    );

    let subnets = every!(
        project.subnets(),
        list_subnets(ListSubnetsRequest {
            org_id: org_id(),
            project_id: project_id()
        }),
        subnets
    );
    let ids = subnets.into_iter().map(|subnet| subnet.id);
    delete_all!(ids, project.subnets(), delete_subnet(DeleteSubnetRequest));

    let vpcs = every!(
        project.vpcs(),
        list_vpcs(ListVpcsRequest {
            org_id: org_id(),
            project_id: project_id()
        }),
        vpcs
    );
    let ids = vpcs.into_iter().map(|vpc| vpc.id);
    delete_all!(ids, project.vpcs(), delete_vpc(DeleteVpcRequest));

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
        let vms = every!(
            project.vms(),
            list_vms(ListVmsRequest {
                org_id: project.org.clone(),
                project_id: project.project.clone()
            }),
            vms
        );
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
