//! Between the wire and the domain; the wire's types go no further.

mod node;
mod port;
mod security_group;
mod subnet;
mod vpc;

use std::collections::HashMap;
use std::str::FromStr;

use photon_api::prismnet::v1 as pb;
use photon_resource::{Error, OrgId, PrincipalId, ProjectId};

use crate::model::{Changes, Labels, NewMeta};

pub use node::desired;
pub use port::{attachment, new_port, port, port_changes, port_filter, report};
pub use security_group::{new_rule, new_security_group, security_group, security_group_rule};
pub use subnet::{new_subnet, subnet, subnet_changes};
pub use vpc::{new_vpc, vpc};

/// Whose a new resource will be.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub org_id: OrgId,
    pub project_id: ProjectId,
    pub owner: PrincipalId,
}

impl Tenant {
    fn meta(self, name: String, description: String, labels: HashMap<String, String>) -> NewMeta {
        NewMeta {
            org_id: self.org_id,
            project_id: self.project_id,
            owner: self.owner,
            name,
            description,
            labels: self::labels(labels),
        }
    }
}

/// Labels in order.
pub fn labels(labels: HashMap<String, String>) -> Labels {
    labels.into_iter().collect()
}

/// What every update can change.
pub fn changes(
    name: Option<String>,
    description: Option<String>,
    labels: Option<pb::Labels>,
    expected_revision: u64,
) -> Changes {
    Changes {
        name,
        description,
        labels: labels.map(|labels| self::labels(labels.labels)),
        expected_revision: (expected_revision != 0).then_some(expected_revision),
    }
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
pub fn id_or_name(field: &str, kind: &str, text: String) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::invalid(
            field,
            text,
            format!("the id or name of a {kind}"),
        ));
    }
    Ok(text)
}
