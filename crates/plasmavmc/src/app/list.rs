//! Where a list looks, and how it pages.

use photon_resource::{Caller, Error, Scope};

/// What a list request's `org_id` and `project_id` mean: empty ones are the token's; an organization without
/// a project is all of its projects; nothing at all, with a token of the system, is everything.
///
/// Errors: `InvalidArgument`.
pub(super) fn scope(caller: &Caller, org_id: &str, project_id: &str) -> Result<Scope, Error> {
    let claims = &caller.claims;
    let org = match (org_id, &claims.org_id) {
        ("", None) if project_id.is_empty() => return Ok(Scope::System),
        ("", None) => {
            let expected =
                "the organization of project_id, because the token is for the whole system";
            return Err(Error::invalid("org_id", "", expected));
        }
        ("", Some(org)) => org.clone(),
        (given, _) => given.parse()?,
    };
    let own = claims
        .project_id
        .as_ref()
        .filter(|_| claims.org_id.as_ref() == Some(&org));
    match (project_id, own) {
        ("", None) => Ok(Scope::Org(org)),
        ("", Some(project)) => Ok(Scope::Project(org, project.clone())),
        (given, _) => Ok(Scope::Project(org, given.parse()?)),
    }
}
