//! The whole cloud.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use photon_api::iam::v1::IssueTokenRequest;
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_testkit::{Caller, Cloud, Session};
use tonic::transport::Channel;

use crate::provisioner::{Surroundings, Tls};
use crate::{flashdns, iam, plasmavmc, prismnet, provisioner};

/// The name of the one host, whose agents have identities.
pub const NODE: &str = "node1";

/// Every server, with an operator and two tenants, `acme` and `globex`, that are alike. The provisioner speaks plaintext,
/// so that no host is known to it by certificate, and its systemd starts nothing.
pub struct TestCloud {
    cloud: Cloud,
    /// Where machines boot from.
    pub boot: SocketAddr,
    /// The operator: SystemAdmin.
    pub operator: Session,
    /// A principal of the system's whose role permits nothing that there is. (Without any, IAM gives no token.)
    pub stranger: Session,
    /// One tenant.
    pub acme: Tenant,
    /// Another one.
    pub globex: Tenant,
}

impl Deref for TestCloud {
    type Target = Cloud;

    fn deref(&self) -> &Cloud {
        &self.cloud
    }
}

impl DerefMut for TestCloud {
    fn deref_mut(&mut self) -> &mut Cloud {
        &mut self.cloud
    }
}

/// An organization with a project, and a principal for each of the roles that tenants have. Their tokens are for the
/// organization.
pub struct Tenant {
    /// The organization's id.
    pub org: String,
    /// Its project's id: `web`.
    pub project: String,
    /// OrgAdmin of the organization.
    pub admin: Session,
    /// The same with a token for another project, in which nothing is: [`Tenant::ELSEWHERE`].
    pub elsewhere: Session,
    /// ProjectMember of the project.
    pub member: Session,
    /// ProjectViewer of the project.
    pub viewer: Session,
    /// With a role that permits nothing that there is. (Without any, IAM gives no token.)
    pub nobody: Session,
}

/// A role that lets its bearer sign in, and do nothing: it is about a type of resource that there is not.
async fn idle_role(operator: &Caller, org: &str) -> String {
    let nothing = [("none:none:none", "", "")];
    let made = operator.create_role(org, "Idle", &nothing).await;
    made.expect("the role Idle")
}

impl Tenant {
    /// The project that nothing is in.
    pub const ELSEWHERE: &'static str = "elsewhere";

    async fn create(cloud: &Cloud, operator: &Caller, org: &str) -> Self {
        let project = "web";
        cloud.people.ensure(org, project).await;
        let (whole, part) = (format!("org/{org}"), format!("org/{org}/project/{project}"));
        let idle = idle_role(operator, org).await;
        let person = async |name: &str, role: &str, scope: &str| {
            let roles = [(role, scope)];
            cloud.people.service_account(org, name, &roles).await
        };
        let admin = person("admin", "OrgAdmin", &whole).await;
        let made = operator.create_project(org, Self::ELSEWHERE).await;
        made.expect("another project");
        // By a key of its own: somebody who acts as it is refused more.
        let key = operator.create_api_key(&admin.principal_id).await;
        let elsewhere = cloud.people.issue(IssueTokenRequest {
            principal_id: admin.principal_id.clone(),
            org_id: org.to_owned(),
            project_id: Self::ELSEWHERE.to_owned(),
            credential: Some(Credential::ApiKey(key.expect("a key"))),
            ..Default::default()
        });
        Self {
            org: org.to_owned(),
            project: project.to_owned(),
            elsewhere: elsewhere.await.expect("a token").session,
            admin,
            member: person("member", "ProjectMember", &part).await,
            viewer: person("viewer", "ProjectViewer", &part).await,
            nobody: person("nobody", &idle, &whole).await,
        }
    }

    /// `org/{org}/project/{project}`.
    pub fn scope(&self) -> String {
        format!("org/{}/project/{}", self.org, self.project)
    }
}

impl TestCloud {
    /// Starts everything.
    pub async fn start() -> Self {
        let surroundings = Surroundings::new();
        let parts = [
            iam::part(NODE),
            prismnet::part(),
            // Hosts of most tests report themselves once, and are not lost meanwhile.
            plasmavmc::part(::plasmavmc::Settings {
                node_timeout_seconds: 3600,
                // The web servers of tests.
                image_networks: vec!["127.0.0.0/8".parse().expect("a network")],
                ..Default::default()
            }),
            flashdns::part(),
            provisioner::part(NODE, Tls::Off, &surroundings, |_| ()),
        ];
        let cloud = Cloud::start(parts).await;
        let operator = cloud.people.operator().await;
        let idle = idle_role(&operator, "").await;
        let roles = [(idle.as_str(), "system")];
        Self {
            boot: surroundings.boot_at,
            stranger: cloud.people.service_account("", "stranger", &roles).await,
            acme: Tenant::create(&cloud, &operator, "acme").await,
            globex: Tenant::create(&cloud, &operator, "globex").await,
            operator: operator.session,
            cloud,
        }
    }

    /// A session of one of the programs that have a key: `plasmavmc-server`, or an agent of [`NODE`],
    /// `prismnet-agent`.
    pub async fn program(&self, name: &str) -> Session {
        self.program_for(name, 3600).await
    }

    /// As [`program`](Self::program), with a token that lives so many seconds.
    pub async fn program_for(&self, name: &str, ttl_seconds: u32) -> Session {
        let node = name.ends_with("-agent").then_some(NODE);
        self.people.program(name, node, ttl_seconds).await
    }

    /// A client of IAM's administration.
    pub fn admin(&self) -> IamAdminServiceClient<Channel> {
        IamAdminServiceClient::new(self.channel("iam"))
    }
}
