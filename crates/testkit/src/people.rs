//! Whoever a test needs: operators, tenants' people and programs, hosts' agents.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::{IssueTokenRequest, PrincipalKind, RevokeTokenRequest};
use tokio::sync::OnceCell;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::caller::Caller;
use crate::session::Session;

/// A password that every test may know.
pub const PASSWORD: &str = "correct horse battery staple";

/// Makes principals and signs them in, in the operator's name.
pub struct People {
    iam: Channel,
    credentials: PathBuf,
    operator: OnceCell<Caller>,
    /// So that every one of them has a name of its own.
    count: AtomicU32,
}

impl People {
    /// Those that the IAM behind this channel knows, whose credentials are in this directory.
    pub fn new(iam: Channel, credentials: PathBuf) -> Self {
        Self {
            iam,
            credentials,
            operator: OnceCell::new(),
            count: AtomicU32::new(0),
        }
    }

    /// Somebody without a token.
    pub fn stranger(&self) -> Caller {
        Caller::new(Session::default(), self.iam.clone())
    }

    /// What is in one of the files of credentials: `operator-password`, `prismnet-agent.key`.
    pub fn credential(&self, file: &str) -> String {
        let path = self.credentials.join(file);
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().to_owned()
    }

    /// The operator of the whole cloud, signed in anew.
    pub async fn operator(&self) -> Caller {
        let password = self.credential("operator-password");
        let signed_in = self.sign_in("", "", "operator", &password).await;
        signed_in.expect("the operator signs in")
    }

    /// The operator, in whose name everybody is made.
    async fn maker(&self) -> &Caller {
        self.operator.get_or_init(|| self.operator()).await
    }

    /// Signs somebody in with a password. `org`, `project`: what the token is for.
    pub async fn sign_in(
        &self,
        org: &str,
        project: &str,
        principal: &str,
        password: &str,
    ) -> Result<Caller, Status> {
        let password = Credential::Password(password.to_owned());
        self.with_credential(org, project, principal, password)
            .await
    }

    /// Signs somebody in.
    pub async fn issue(&self, request: IssueTokenRequest) -> Result<Caller, Status> {
        self.stranger().issue(request).await
    }

    async fn with_credential(
        &self,
        org: &str,
        project: &str,
        principal: &str,
        credential: Credential,
    ) -> Result<Caller, Status> {
        self.issue(IssueTokenRequest {
            principal_id: principal.to_owned(),
            org_id: org.to_owned(),
            project_id: project.to_owned(),
            credential: Some(credential),
            ..Default::default()
        })
        .await
    }

    /// One of the cloud's own programs that have a key: `plasmavmc-server`, or an agent of a host, `prismnet-agent`. Its
    /// token lives so many seconds (0: as long as IAM says).
    pub async fn program(&self, name: &str, node: Option<&str>, ttl_seconds: u32) -> Session {
        let principal = node.map_or(name.to_owned(), |node| format!("{name}@{node}"));
        let key = self.credential(&format!("{name}.key"));
        let issued = self.issue(IssueTokenRequest {
            principal_id: principal.clone(),
            credential: Some(Credential::ApiKey(key)),
            ttl_seconds,
            ..Default::default()
        });
        let issued = issued.await;
        let issued = issued.unwrap_or_else(|status| panic!("no token for {principal}: {status}"));
        issued.session
    }

    /// A name that nobody has yet.
    pub fn name(&self, kind: &str) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{kind}-{number}")
    }

    /// Makes an organization and a project of it, if they are not there.
    pub async fn ensure(&self, org: &str, project: &str) {
        let maker = self.maker().await;
        let made = [
            maker.create_org(org).await.map(drop),
            maker.create_project(org, project).await.map(drop),
        ];
        for refused in made.into_iter().filter_map(Result::err) {
            assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
        }
    }

    /// A new service account of an organization (empty: of the system) with roles at scopes, and a token for all of that.
    pub async fn service_account(&self, org: &str, name: &str, roles: &[(&str, &str)]) -> Session {
        self.made(org, "", name, PrincipalKind::ServiceAccount, "", roles)
            .await
            .session
    }

    /// Somebody with a role in a project, and a token for that; without a project, in the organization.
    pub async fn member(&self, org: &str, project: &str, role: &str) -> Caller {
        self.ensure(org, if project.is_empty() { "web" } else { project })
            .await;
        let scope = match project {
            "" => format!("org/{org}"),
            project => format!("org/{org}/project/{project}"),
        };
        let name = self.name("program");
        let kind = PrincipalKind::ServiceAccount;
        self.made(org, project, &name, kind, "", &[(role, &scope)])
            .await
    }

    /// Somebody of a project with these permissions: action, resource, condition.
    pub async fn permitted(
        &self,
        org: &str,
        project: &str,
        permissions: &[(&str, &str, &str)],
    ) -> Caller {
        self.ensure(org, project).await;
        let maker = self.maker().await;
        let role = maker
            .create_role(org, &self.name("role"), permissions)
            .await;
        self.member(org, project, &role.expect("a role")).await
    }

    /// The agent of a host that need not be known yet.
    pub async fn agent(&self, node: &str) -> Caller {
        let name = self.name("agent");
        let roles = [("NodeAgent", "system")];
        self.made("", "", &name, PrincipalKind::Node, node, &roles)
            .await
    }

    /// An organization with one project, and a user of it with `role` in the organization.
    pub async fn tenant(&self, org: &str, project: &str, user: &str, role: &str) -> Caller {
        let maker = self.maker().await;
        maker.create_org(org).await.expect("an organization");
        maker.create_project(org, project).await.expect("a project");
        self.user(org, "", user, (role, &format!("org/{org}")))
            .await
    }

    /// A new user with [`PASSWORD`] and a role at a scope, and a token for a project (empty: for the organization).
    pub async fn user(
        &self,
        org: &str,
        project: &str,
        name: &str,
        (role, scope): (&str, &str),
    ) -> Caller {
        let maker = self.maker().await;
        let id = maker.create_user(org, name).await.expect("a user");
        maker.bind(&id, role, scope).await.expect("a role");
        let signed_in = self.sign_in(org, project, name, PASSWORD).await;
        signed_in.unwrap_or_else(|status| panic!("{name} of {org}: {status}"))
    }

    /// Makes every token that was issued to a caller until now useless.
    pub async fn revoke(&self, whose: &Session) {
        let request = RevokeTokenRequest {
            token: whose.token.clone(),
            ..Default::default()
        };
        let revoked = self.maker().await.tokens().revoke_token(request).await;
        revoked.expect("the operator revokes");
    }

    /// Makes a principal, gives it roles, and signs it in with an API key, which is quicker than a password.
    async fn made(
        &self,
        org: &str,
        project: &str,
        name: &str,
        kind: PrincipalKind,
        node: &str,
        roles: &[(&str, &str)],
    ) -> Caller {
        let maker = self.maker().await;
        let id = maker.create_program(org, name, kind, node).await;
        let id = id.unwrap_or_else(|status| panic!("{name} of '{org}': {status}"));
        for (role, scope) in roles {
            let bound = maker.bind(&id, role, scope).await;
            bound.unwrap_or_else(|status| panic!("{role} at {scope} for {name}: {status}"));
        }
        let key = maker.create_api_key(&id).await.expect("an API key");
        let signed_in = self.with_credential(org, project, &id, Credential::ApiKey(key));
        let signed_in = signed_in.await;
        signed_in.unwrap_or_else(|status| panic!("no token for {name}: {status}"))
    }
}
