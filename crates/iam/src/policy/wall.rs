//! Where a token may act, whatever the roles of its bearer permit.

use photon_resource::{Claims, OrgId, ProjectId, Scope};

/// What a token is for.
#[derive(Clone, Copy, Debug)]
pub struct Wall<'a> {
    /// `None`: the system.
    org: Option<&'a OrgId>,
    /// `None`: all of that.
    project: Option<&'a ProjectId>,
}

/// Why a token does not reach a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside<'a> {
    /// It is another organization's, or the system's: what is there must look absent.
    Tenant,
    /// It is not in this project, which alone the token is for.
    Project(&'a ProjectId),
}

impl<'a> Wall<'a> {
    /// Around what these claims are for.
    pub fn of(claims: &'a Claims) -> Self {
        Self::around(claims.org_id.as_ref(), claims.project_id.as_ref())
    }

    /// Around a project, an organization, or nothing.
    pub fn around(org: Option<&'a OrgId>, project: Option<&'a ProjectId>) -> Self {
        Self { org, project }
    }

    /// Whether the token reaches `scope`. A token of the system has no wall before it; one that a principal of the system
    /// got for an organization has. Whoever finds a project's token finds no more than the project, whatever its bearer
    /// may do elsewhere.
    pub fn check(&self, scope: &Scope) -> Result<(), Outside<'a>> {
        if self.org.is_some() && self.org != scope.org() {
            return Err(Outside::Tenant);
        }
        match self.project {
            Some(project) if scope.project() != Some(project) => Err(Outside::Project(project)),
            _ => Ok(()),
        }
    }

    /// The same as a condition in Cedar's language, for who proves what it keeps out: a test holds the two together.
    pub fn as_condition(&self) -> String {
        let mut text = "true".to_owned();
        // Ids hold nothing that would need an escape: see their parsers.
        if let Some(org) = self.org {
            text += &format!(" && resource.level != \"system\" && resource.org == \"{org}\"");
        }
        if let Some(project) = self.project {
            text +=
                &format!(" && resource.level == \"project\" && resource.project == \"{project}\"");
        }
        text
    }
}
