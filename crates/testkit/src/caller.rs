//! Somebody who calls IAM.

use std::ops::Deref;

use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::chainfire::v1::{Event, ListEventsRequest};
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_authz_service_client::IamAuthzServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::session_service_client::SessionServiceClient;
use photon_api::iam::v1::*;
use tonic::Status;
use tonic::transport::Channel;

use crate::people::PASSWORD;
use crate::session::{Bearing, Session};

/// Somebody who calls IAM, with a token or none.
#[derive(Clone)]
pub struct Caller {
    /// Who it is.
    pub session: Session,
    iam: Channel,
}

impl Deref for Caller {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl AsRef<Session> for Caller {
    fn as_ref(&self) -> &Session {
        &self.session
    }
}

impl Caller {
    /// This one at the IAM behind the channel.
    pub fn new(session: Session, iam: Channel) -> Self {
        Self { session, iam }
    }

    /// Somebody else at the same IAM.
    pub fn with_token(&self, token: &str) -> Self {
        Self::new(
            Session {
                token: token.to_owned(),
                ..self.session.clone()
            },
            self.iam.clone(),
        )
    }

    /// A client of IAM's administration.
    pub fn admin(&self) -> IamAdminServiceClient<Bearing> {
        IamAdminServiceClient::new(self.session.on(self.iam.clone()))
    }

    /// A client of what concerns tokens.
    pub fn tokens(&self) -> IamTokenServiceClient<Bearing> {
        IamTokenServiceClient::new(self.session.on(self.iam.clone()))
    }

    /// A client of sessions.
    pub fn sessions(&self) -> SessionServiceClient<Bearing> {
        SessionServiceClient::new(self.session.on(self.iam.clone()))
    }

    /// A client of authorization.
    pub fn authz(&self) -> IamAuthzServiceClient<Bearing> {
        IamAuthzServiceClient::new(self.session.on(self.iam.clone()))
    }

    /// Signs in whoever the request is about.
    pub async fn issue(&self, request: IssueTokenRequest) -> Result<Self, Status> {
        let issued = self.tokens().issue_token(request).await?.into_inner();
        let session = Session {
            principal_id: issued.principal_id,
            token: issued.token,
        };
        Ok(Self::new(session, self.iam.clone()))
    }

    /// IAM's event log of its organization, or of the system.
    pub async fn events(&self) -> Vec<Event> {
        let mut client = EventServiceClient::new(self.session.on(self.iam.clone()));
        let list = ListEventsRequest {
            page_size: 1000,
            ..Default::default()
        };
        let events = client.list_events(list).await.expect("events");
        events.into_inner().events
    }

    /// An organization of this id.
    pub async fn create_org(&self, id: &str) -> Result<Organization, Status> {
        let request = CreateOrganizationRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        let made = self.admin().create_organization(request).await?;
        Ok(made.into_inner().organization.expect("what was made"))
    }

    /// A project of this id.
    pub async fn create_project(&self, org: &str, id: &str) -> Result<Project, Status> {
        let request = CreateProjectRequest {
            org_id: org.to_owned(),
            id: id.to_owned(),
            ..Default::default()
        };
        let made = self.admin().create_project(request).await?;
        Ok(made.into_inner().project.expect("what was made"))
    }

    /// A user with [`PASSWORD`]; its id.
    pub async fn create_user(&self, org: &str, name: &str) -> Result<String, Status> {
        self.create_principal(CreatePrincipalRequest {
            org_id: org.to_owned(),
            name: name.to_owned(),
            kind: PrincipalKind::User.into(),
            password: PASSWORD.to_owned(),
            ..Default::default()
        })
        .await
    }

    /// A service account; its id.
    pub async fn create_service_account(&self, org: &str, name: &str) -> Result<String, Status> {
        let kind = PrincipalKind::ServiceAccount;
        self.create_program(org, name, kind, "").await
    }

    /// A principal without a password; its id.
    pub async fn create_program(
        &self,
        org: &str,
        name: &str,
        kind: PrincipalKind,
        node: &str,
    ) -> Result<String, Status> {
        self.create_principal(CreatePrincipalRequest {
            org_id: org.to_owned(),
            name: name.to_owned(),
            kind: kind.into(),
            node: node.to_owned(),
            ..Default::default()
        })
        .await
    }

    async fn create_principal(&self, request: CreatePrincipalRequest) -> Result<String, Status> {
        let made = self.admin().create_principal(request).await?;
        Ok(made.into_inner().principal.expect("what was made").id)
    }

    /// A key with which the principal signs in.
    pub async fn create_api_key(&self, principal: &str) -> Result<String, Status> {
        let request = CreateApiKeyRequest {
            principal_id: principal.to_owned(),
            ..Default::default()
        };
        let made = self.admin().create_api_key(request).await?;
        Ok(made.into_inner().secret)
    }

    /// Gives a principal a role at a scope.
    pub async fn bind(&self, principal: &str, role: &str, scope: &str) -> Result<Binding, Status> {
        let request = CreateBindingRequest {
            principal_id: principal.to_owned(),
            role_id: role.to_owned(),
            scope: scope.to_owned(),
            ..Default::default()
        };
        let made = self.admin().create_binding(request).await?;
        Ok(made.into_inner().binding.expect("what was made"))
    }

    /// A role with these actions, resources and conditions; its id.
    pub async fn create_role(
        &self,
        org: &str,
        name: &str,
        permissions: &[(&str, &str, &str)],
    ) -> Result<String, Status> {
        let request = CreateRoleRequest {
            org_id: org.to_owned(),
            name: name.to_owned(),
            permissions: permissions.iter().map(permission).collect(),
            ..Default::default()
        };
        let made = self.admin().create_role(request).await?;
        Ok(made.into_inner().role.expect("what was made").id)
    }

    /// What IAM says that it is.
    pub async fn whoami(&self) -> Result<WhoAmIResponse, Status> {
        Ok(self.tokens().who_am_i(WhoAmIRequest {}).await?.into_inner())
    }

    /// Asks about its own token, as servers do on its behalf.
    pub async fn may(&self, action: &str, resource: &str) -> Result<AuthorizeResponse, Status> {
        self.may_with(action, resource, &[]).await
    }

    /// As [`may`](Self::may), with what conditions of roles can read.
    pub async fn may_with(
        &self,
        action: &str,
        resource: &str,
        attributes: &[(&str, &str)],
    ) -> Result<AuthorizeResponse, Status> {
        let attributes = attributes.iter();
        let request = AuthorizeRequest {
            token: self.token.clone(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            attributes: attributes
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        Ok(self.authz().authorize(request).await?.into_inner())
    }

    /// Whether it may.
    pub async fn allowed(&self, action: &str, resource: &str) -> bool {
        let answer = self.may(action, resource).await;
        answer.expect("IAM answers about its own token").allowed
    }
}

/// A permission of an action, a resource and a condition.
pub fn permission((action, resource, condition): &(&str, &str, &str)) -> Permission {
    Permission {
        action: (*action).to_owned(),
        resource: (*resource).to_owned(),
        condition: (*condition).to_owned(),
    }
}
