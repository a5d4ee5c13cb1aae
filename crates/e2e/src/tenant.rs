//! A tenant as the operator makes it, and removes it again.

use anyhow::{Context, Result};
use photon_api::iam::v1::{
    CreateBindingRequest, CreateOrganizationRequest, CreatePrincipalRequest, CreateProjectRequest,
    PrincipalKind,
};

use crate::{Channels, Session};

/// Who a tenant is to be. The same password is good for one demo, not for a cloud.
#[derive(Clone, Debug)]
pub struct Account {
    pub org: String,
    pub project: String,
    pub user: String,
    pub password: String,
    /// Of the organization, for people.
    pub description: String,
}

/// So many bytes that nobody can guess, in hex.
///
/// # Errors
/// When the system gives none.
pub fn random_hex<const N: usize>() -> Result<String> {
    let mut random = [0_u8; N];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Account {
    /// With a password of its own that nobody can guess.
    pub fn new(org: &str) -> Result<Self> {
        Ok(Account {
            org: org.into(),
            project: "web".into(),
            user: "admin".into(),
            password: random_hex::<12>()?,
            description: String::new(),
        })
    }

    /// The same user, for what is the organization's and of none of its projects.
    #[must_use]
    pub fn of_organization(self) -> Self {
        Account {
            project: String::new(),
            ..self
        }
    }

    /// Signs in, for the project.
    ///
    /// # Errors
    /// When IAM can't be reached or refuses.
    pub async fn sign_in(&self, channels: &Channels) -> Result<Session> {
        Session::open(
            channels,
            &self.user,
            &self.org,
            &self.project,
            &self.password,
        )
        .await
    }
}

/// As the operator: makes the organization, its project, and a user who administers the organization.
pub async fn onboard(operator: &Session, account: &Account) -> Result<()> {
    let org = &account.org;
    operator
        .call(CreateOrganizationRequest {
            id: org.clone(),
            name: org.clone(),
            description: account.description.clone(),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot create the organization {org}"))?;
    operator
        .call(CreateProjectRequest {
            org_id: org.clone(),
            id: account.project.clone(),
            name: account.project.clone(),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot create a project in {org}"))?;
    let principal = operator
        .call(CreatePrincipalRequest {
            org_id: org.clone(),
            name: account.user.clone(),
            kind: PrincipalKind::User.into(),
            password: account.password.clone(),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot create a user in {org}"))?
        .principal
        .context("CreatePrincipal answered without the principal")?;
    operator
        .call(CreateBindingRequest {
            principal_id: principal.id,
            role_id: "OrgAdmin".into(),
            scope: format!("org/{org}"),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot bind a role in {org}"))?;
    Ok(())
}
