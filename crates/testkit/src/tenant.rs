//! A tenant with people of every kind.

use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::{CreateOrganizationRequest, CreateProjectRequest};
use tonic::transport::Channel;

use crate::cloud::{idle_role, program};
use crate::session::Session;

/// An organization with a project, and a principal for each of the roles that tenants have. Their tokens are for the
/// organization.
pub struct Tenant {
    /// The organization's id.
    pub org: String,
    /// Its project's id: `web`.
    pub project: String,
    /// OrgAdmin of the organization.
    pub admin: Session,
    /// ProjectMember of the project.
    pub member: Session,
    /// ProjectViewer of the project.
    pub viewer: Session,
    /// With a role that permits nothing that there is. (Without any, IAM gives no token.)
    pub nobody: Session,
}

impl Tenant {
    pub(crate) async fn create(iam: &Channel, operator: &Session, org: &str) -> Self {
        let project = "web";
        let mut admin = IamAdminServiceClient::new(iam.clone());
        let request = CreateOrganizationRequest {
            id: org.to_owned(),
            ..Default::default()
        };
        admin
            .create_organization(operator.request(request))
            .await
            .unwrap_or_else(|status| panic!("organization {org}: {status}"));
        let request = CreateProjectRequest {
            org_id: org.to_owned(),
            id: project.to_owned(),
            ..Default::default()
        };
        admin
            .create_project(operator.request(request))
            .await
            .unwrap_or_else(|status| panic!("project {org}/{project}: {status}"));
        let (whole, part) = (format!("org/{org}"), format!("org/{org}/project/{project}"));
        let idle = idle_role(iam, operator, org).await;
        let person = async |name: &str, roles: &[(&str, &str)]| {
            program(iam, operator, org, name, roles).await
        };
        Self {
            org: org.to_owned(),
            project: project.to_owned(),
            admin: person("admin", &[("OrgAdmin", &whole)]).await,
            member: person("member", &[("ProjectMember", &part)]).await,
            viewer: person("viewer", &[("ProjectViewer", &part)]).await,
            nobody: person("nobody", &[(&idle, &whole)]).await,
        }
    }

    /// `org/{org}/project/{project}`.
    pub fn scope(&self) -> String {
        format!("org/{}/project/{}", self.org, self.project)
    }
}
