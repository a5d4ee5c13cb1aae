//! What IAM speaks of: free of wire and of storage.

use std::time::SystemTime;

pub use photon_policy::Permission;
use photon_resource::{
    ApiKeyId, BindingId, Error, OrgId, PrincipalId, PrincipalKind, ProjectId, Scope, is_hidden,
};

use crate::credential::validate_password;

mod session;

pub use session::{Predecessor, Session, client_of, validate_client};

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    pub id: OrgId,
    pub name: String,
    pub description: String,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub revision: u64,
}

/// A part of a tenant that roles can be given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub org_id: OrgId,
    pub id: ProjectId,
    pub name: String,
    pub description: String,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub revision: u64,
}

/// Who can act: a user, a program, a host, a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub id: PrincipalId,
    /// `None`: the system's.
    pub org_id: Option<OrgId>,
    pub name: String,
    pub kind: PrincipalKind,
    pub description: String,
    pub disabled: bool,
    /// For a node: its host's name.
    pub node: Option<String>,
    /// PHC string of the password (argon2id); `None`: can't sign in with one.
    pub password_hash: Option<String>,
    /// Tokens of an earlier generation are revoked: it grows when all of a principal's tokens are.
    pub token_generation: u64,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub revision: u64,
}

impl Principal {
    /// Where it belongs.
    pub fn home(&self) -> Scope {
        home(self.org_id.as_ref())
    }
}

/// The scope of an organization, or the system's where there is none.
pub fn home(org: Option<&OrgId>) -> Scope {
    org.map_or(Scope::System, |org| Scope::Org(org.clone()))
}

/// A long-lived credential of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub principal_id: PrincipalId,
    pub description: String,
    /// SHA-256 of the secret, which has 256 bits of entropy itself, so that no slow hash is needed.
    pub secret_sha256: [u8; 32],
    pub created_at: SystemTime,
    /// `None`: never, as in keys of earlier releases and in those of the cloud's own programs.
    pub expires_at: Option<SystemTime>,
    /// The one project that it gets tokens for; `None`: all that its principal may.
    pub confined: Option<(OrgId, ProjectId)>,
}

impl ApiKey {
    /// Where it is, if its principal is of `home`: one for a project is in the project.
    pub fn scope(&self, home: &Scope) -> Scope {
        match &self.confined {
            Some((org, project)) => Scope::Project(org.clone(), project.clone()),
            None => home.clone(),
        }
    }
}

/// A key pair for SigV4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3AccessKey {
    pub access_key_id: String,
    pub principal_id: PrincipalId,
    pub project_id: ProjectId,
    pub description: String,
    /// The secret, sealed under the server's key: SigV4 needs the secret itself to verify a request.
    pub sealed_secret: Vec<u8>,
    pub created_at: SystemTime,
}

/// A list of permissions under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Built-in: the name; else a UUID.
    pub id: String,
    /// `None`: built-in, or made by an operator for the system.
    pub org_id: Option<OrgId>,
    pub name: String,
    pub description: String,
    pub permissions: Vec<Permission>,
    pub built_in: bool,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub revision: u64,
}

/// A role given to a principal at a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub id: BindingId,
    pub principal_id: PrincipalId,
    pub role_id: String,
    pub scope: Scope,
    pub created_at: SystemTime,
    pub expires_at: Option<SystemTime>,
    pub revision: u64,
}

impl Binding {
    /// Whether it still counts.
    pub fn active(&self, now: SystemTime) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// An organization to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrganization {
    pub id: OrgId,
    pub name: String,
    pub description: String,
}

/// What an update changes; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    /// 0: any.
    pub expected_revision: u64,
}

/// A project to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProject {
    pub org_id: OrgId,
    pub id: ProjectId,
    pub name: String,
    pub description: String,
}

/// What an update changes; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    /// 0: any.
    pub expected_revision: u64,
}

/// A principal to be made. Not to be printed: it has a password.
pub struct NewPrincipal {
    /// `None`: the system's.
    pub org_id: Option<OrgId>,
    pub name: String,
    pub kind: PrincipalKind,
    pub description: String,
    /// For a node: its host's name; else empty.
    pub node: String,
    /// For a user that is to sign in with one; else empty.
    pub password: String,
}

impl NewPrincipal {
    /// Checks what its kind must have, and can't.
    ///
    /// Errors: `InvalidArgument`.
    pub fn validate(&self) -> Result<(), Error> {
        if self.kind == PrincipalKind::Node {
            photon_resource::validate_resource_name("node", &self.node)?;
        } else if !self.node.is_empty() {
            return Err(Error::invalid(
                "node",
                &self.node,
                "none, because the kind is not NODE",
            ));
        }
        if self.kind == PrincipalKind::User {
            if !self.password.is_empty() {
                validate_password("password", &self.password)?;
            }
        } else if !self.password.is_empty() {
            return Err(Error::invalid(
                "password",
                "(hidden)",
                "none, because the kind is not USER: programs sign in with an API key",
            ));
        }
        let of_the_system = match self.kind {
            PrincipalKind::Node => "PRINCIPAL_KIND_NODE",
            PrincipalKind::Service => "PRINCIPAL_KIND_SERVICE",
            PrincipalKind::User | PrincipalKind::ServiceAccount => return Ok(()),
        };
        if self.org_id.is_some() {
            return Err(Error::invalid(
                "kind",
                of_the_system,
                "USER or SERVICE_ACCOUNT in an organization: hosts and servers belong to the system",
            ));
        }
        Ok(())
    }
}

/// What an update changes; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrincipalChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub disabled: Option<bool>,
    /// 0: any.
    pub expected_revision: u64,
}

/// A custom role to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRole {
    /// `None`: the system's.
    pub org_id: Option<OrgId>,
    pub name: String,
    pub description: String,
    pub permissions: Vec<Permission>,
}

/// What an update changes; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub permissions: Option<Vec<Permission>>,
    /// 0: any.
    pub expected_revision: u64,
}

/// What an update changes; `None` leaves as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindingChanges {
    /// When it ends; `Some(None)`: never.
    pub expires_at: Option<Option<SystemTime>>,
    /// 0: any.
    pub expected_revision: u64,
}

/// Checks a principal's name: `[a-z0-9][a-z0-9._@-]{0,62}` and not a UUID, which could not be told from an id.
pub fn validate_principal_name(name: &str) -> Result<(), Error> {
    let first = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    let ok = (1..=63).contains(&bytes.len())
        && first(&bytes[0])
        && bytes.iter().all(|b| first(b) || b"._@-".contains(b));
    if ok && !PrincipalId::looks_like(name) {
        Ok(())
    } else {
        Err(Error::invalid(
            "name",
            name,
            "1 to 63 of a-z, 0-9, '.', '_', '@' and '-', beginning with a letter or digit, and not a UUID",
        ))
    }
}

/// Checks a role's name: `[A-Za-z][A-Za-z0-9._-]{0,62}`, neither a UUID nor a built-in role's.
pub fn validate_role_name(name: &str) -> Result<(), Error> {
    let bytes = name.as_bytes();
    let ok = (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_alphabetic()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
    if ok && !photon_resource::RoleId::looks_like(name) && crate::policy::built_in(name).is_none() {
        Ok(())
    } else {
        Err(Error::invalid(
            "name",
            name,
            "1 to 63 letters, digits, '.', '_' and '-', beginning with a letter, and not the name of a built-in role",
        ))
    }
}

/// Checks the name that people read of an organization or project: any text of up to 100 characters, none hidden.
pub fn validate_display_name(name: &str) -> Result<(), Error> {
    if name.trim().is_empty() || name.chars().count() > 100 || name.chars().any(is_hidden) {
        return Err(Error::invalid(
            "name",
            name,
            "1 to 100 characters, none that is invisible or turns the direction of writing",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_looks_like_another_is_refused() {
        for good in ["Orchid", "蘭 GmbH", "Société Générale"] {
            validate_display_name(good).unwrap();
        }
        for bad in [
            "",
            " ",
            "Orchid\u{202e}",
            "Or\u{200b}chid",
            "Orchid\u{1b}[1m",
            "a\nb",
        ] {
            validate_display_name(bad).unwrap_err();
        }
    }

    #[test]
    fn principal_names() {
        for good in ["a", "alice@example.org", "prismnet-agent@host-1", "0day"] {
            validate_principal_name(good).unwrap();
        }
        for bad in [
            "",
            "Alice",
            "a/b",
            ".a",
            "@",
            "a b",
            "ü",
            "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e",
        ] {
            assert!(validate_principal_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_custom_role_does_not_pass_for_a_built_in_one() {
        validate_role_name("vm-starter").unwrap();
        assert!(validate_role_name("SystemAdmin").is_err());
        assert!(validate_role_name("6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e").is_err());
    }

    proptest! {
        #[test]
        fn no_name_that_is_accepted_can_break_out_of_a_key_or_a_policy(text in "\\PC*") {
            if validate_principal_name(&text).is_ok() || validate_role_name(&text).is_ok() {
                prop_assert!(!text.contains(['/', '"', '\\', '*', ' ']));
            }
        }
    }
}
