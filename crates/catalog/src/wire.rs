//! The parts of messages that all components have.

use std::collections::BTreeMap;
use std::str::FromStr;

use photon_resource::{Changes, Error, NewMeta, OrgId, PrincipalId, ProjectId, Scope, Time};

/// Whose a new resource will be.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub org_id: OrgId,
    pub project_id: ProjectId,
    /// Who creates it.
    pub owner: PrincipalId,
}

impl Tenant {
    /// The project.
    pub fn scope(&self) -> Scope {
        Scope::Project(self.org_id.clone(), self.project_id.clone())
    }

    /// The common part of a resource of this tenant's.
    pub fn meta(
        self,
        name: String,
        description: String,
        labels: BTreeMap<String, String>,
    ) -> NewMeta {
        NewMeta {
            org_id: self.org_id,
            project_id: self.project_id,
            owner: self.owner,
            name,
            description,
            labels,
        }
    }
}

/// What every update can change; an `expected_revision` of 0 expects none.
pub fn changes(
    name: Option<String>,
    description: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    expected_revision: u64,
) -> Changes {
    Changes {
        name,
        description,
        labels,
        expected_revision: (expected_revision != 0).then_some(expected_revision),
    }
}

/// A time as messages hold it.
pub fn timestamp(time: Time) -> prost_types::Timestamp {
    std::time::SystemTime::from(time).into()
}

/// Reads an id. Errors: `InvalidArgument` for the field as the API names it.
pub fn id<T: FromStr>(field: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| {
        Error::invalid(
            field,
            text,
            "an id: a UUID such as 6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e",
        )
    })
}

/// Reads an id that may be left out.
pub fn optional_id<T: FromStr>(field: &str, text: &str) -> Result<Option<T>, Error> {
    if text.is_empty() {
        Ok(None)
    } else {
        id(field, text).map(Some)
    }
}

/// What must be an id or a name, whichever it is. Errors: `InvalidArgument` if it is empty.
pub fn id_or_name(field: &str, noun: &str, text: String) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::invalid(
            field,
            text,
            format!("the id or name of a {noun}"),
        ));
    }
    Ok(text)
}
