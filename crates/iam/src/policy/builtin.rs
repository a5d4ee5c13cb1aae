//! The roles that every cloud has.

use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use crate::model::{Permission, Role};

/// Action pattern, resource pattern, condition (empty: none).
type Line = (&'static str, &'static str, &'static str);

/// Name, description, permissions.
type Definition = (&'static str, &'static str, &'static [Line]);

const OWN: &str = "resource.owner == principal.id";
const OF_A_NODE: &str = r#"resource.kind == "node""#;
const NODE_AGENT_OF_A_NODE: &str = r#"resource.kind == "node" && resource.role == "NodeAgent""#;

/// A role permits within the scope of its binding, so the same `*` is everything for an operator and one
/// organization for its administrator.
const DEFINITIONS: &[Definition] = &[
    (
        "SystemAdmin",
        "Everything, everywhere: for operators.",
        &[("*", "*", "")],
    ),
    (
        "OrgAdmin",
        "Everything in an organization.",
        &[("*", "org/*", "")],
    ),
    (
        "ProjectAdmin",
        "Everything in a project, and giving roles in it.",
        &[
            ("network:*", "*", ""),
            ("compute:*", "*", ""),
            ("dns:*", "*", ""),
            // All that ProjectViewer permits, because nobody gives what they lack. It has the events of the project.
            ("*:*:get", "*", ""),
            ("*:*:list", "*", ""),
            ("*:*:watch", "*", ""),
            ("iam:projects:update", "*", ""),
            ("iam:bindings:*", "*", ""),
            ("iam:s3Keys:*", "*", ""),
            ("iam:apiKeys:*", "*", OWN),
        ],
    ),
    (
        "ProjectMember",
        "Makes and uses networks, names and virtual machines in a project.",
        &[
            ("network:*", "*", ""),
            ("compute:*", "*", ""),
            ("dns:*", "*", ""),
            // All that ProjectViewer permits, as in other clouds: who works in a project sees what is in it.
            ("*:*:get", "*", ""),
            ("*:*:list", "*", ""),
            ("*:*:watch", "*", ""),
            // With a token for the project, for keys that get no others.
            ("iam:apiKeys:*", "*", OWN),
        ],
    ),
    (
        "ProjectViewer",
        "Sees what is in a project.",
        &[
            ("*:*:get", "*", ""),
            ("*:*:list", "*", ""),
            ("*:*:watch", "*", ""),
        ],
    ),
    (
        "NodeAgent",
        "What a host's agents do: learn what should be on their host and report what is.",
        &[
            ("network:nodes:*", "system/*", ""),
            ("compute:nodes:register", "system/*", ""),
            ("compute:nodes:watch", "system/*", ""),
            ("compute:nodes:report", "system/*", ""),
            ("dns:nodes:watch", "system/*", ""),
        ],
    ),
    (
        "ServiceAgent",
        "What the cloud's own servers do for others: ask for permission, look up and attach ports, remove those that went with a VM.",
        &[
            ("iam:tokens:authorize", "system/*", ""),
            ("network:ports:get", "*", ""),
            ("network:ports:attach", "*", ""),
            ("network:ports:detach", "*", ""),
            ("network:ports:delete", "*", ""),
        ],
    ),
    (
        "NameService",
        "What FlashDNS does for others: follows which VMs have which addresses in which VPCs.",
        &[
            // About calls that outlast their tokens.
            ("iam:tokens:authorize", "system/*", ""),
            ("network:subnets:watch", "*", ""),
            ("network:ports:watch", "*", ""),
            ("compute:instances:watch", "*", ""),
        ],
    ),
    (
        "Custodian",
        "What IAM itself does: asks the other servers what they hold of a project that is to be deleted.",
        &[
            ("*:tenants:list", "system/*", ""),
            ("*:tenants:close", "system/*", ""),
        ],
    ),
    (
        "Provisioner",
        "What photon-provisioner does: gives a host that joins its agents' identities, and takes them from one that leaves.",
        &[
            // About calls that outlast their tokens.
            ("iam:tokens:authorize", "system/*", ""),
            ("iam:principals:create", "system/*", OF_A_NODE),
            ("iam:principals:get", "system/*", OF_A_NODE),
            ("iam:principals:list", "system/*", OF_A_NODE),
            ("iam:principals:delete", "system/*", OF_A_NODE),
            ("iam:bindings:create", "system/*", NODE_AGENT_OF_A_NODE),
            ("iam:bindings:get", "system/*", NODE_AGENT_OF_A_NODE),
            ("iam:bindings:list", "system/*", OF_A_NODE),
            ("iam:bindings:delete", "system/*", NODE_AGENT_OF_A_NODE),
            // All that NodeAgent permits, because nobody gives what they lack. Being no node it can't use it: what
            // a host may see or report is told only to principals of that host.
            ("network:nodes:*", "system/*", ""),
            ("compute:nodes:register", "system/*", ""),
            ("compute:nodes:watch", "system/*", ""),
            ("compute:nodes:report", "system/*", ""),
            ("dns:nodes:watch", "system/*", ""),
        ],
    ),
];

static ROLES: LazyLock<Vec<Role>> = LazyLock::new(|| DEFINITIONS.iter().map(role).collect());

fn role((name, description, permissions): &Definition) -> Role {
    let permission = |(action, resource, condition): &Line| Permission {
        // Can't fail: a test reads every definition.
        action: action.parse().expect("a built-in role's action pattern"),
        resource: resource
            .parse()
            .expect("a built-in role's resource pattern"),
        condition: (!condition.is_empty())
            .then(|| condition.parse().expect("a built-in role's condition")),
    };
    Role {
        id: (*name).to_owned(),
        org_id: None,
        name: (*name).to_owned(),
        description: (*description).to_owned(),
        permissions: permissions.iter().map(permission).collect(),
        built_in: true,
        created_at: UNIX_EPOCH,
        updated_at: UNIX_EPOCH,
        revision: 1,
    }
}

/// All built-in roles, in the order of their reach.
pub fn built_in_roles() -> &'static [Role] {
    &ROLES
}

/// The built-in role of this name.
pub fn built_in(name: &str) -> Option<&'static Role> {
    ROLES.iter().find(|role| role.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_can_be_read() {
        assert_eq!(built_in_roles().len(), DEFINITIONS.len());
        assert!(built_in("ProjectViewer").is_some());
        assert!(built_in("Owner").is_none());
    }
}
