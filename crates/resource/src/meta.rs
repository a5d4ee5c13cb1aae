//! What all resources have: tenant, name, description, labels, times, revision.

use std::collections::BTreeMap;

use crate::{
    Error, Kind, OrgId, PrincipalId, ProjectId, Scope, Time, validate_description, validate_labels,
    validate_resource_name,
};

/// Labels, in the order of their keys.
pub type Labels = BTreeMap<String, String>;

/// The part that every resource has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub org_id: OrgId,
    pub project_id: ProjectId,
    /// Who created it; conditions of policies read it.
    pub owner: PrincipalId,
    /// Unique among the project's resources of the same type.
    pub name: String,
    pub description: String,
    pub labels: Labels,
    pub created_at: Time,
    pub updated_at: Time,
    /// 1 when created, one more with every change.
    pub revision: u64,
}

/// The part of a create request that every resource has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMeta {
    pub org_id: OrgId,
    pub project_id: ProjectId,
    pub owner: PrincipalId,
    pub name: String,
    pub description: String,
    pub labels: Labels,
}

impl NewMeta {
    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        validate_resource_name("name", &self.name)?;
        validate_description(&self.description)?;
        validate_labels(&self.labels)
    }

    /// The project that it will belong to.
    pub fn scope(&self) -> Scope {
        Scope::Project(self.org_id.clone(), self.project_id.clone())
    }

    /// The first revision, created now.
    pub fn into_meta(self, now: Time) -> Meta {
        Meta {
            org_id: self.org_id,
            project_id: self.project_id,
            owner: self.owner,
            name: self.name,
            description: self.description,
            labels: self.labels,
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }
}

/// What an update changes of the common part; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub name: Option<String>,
    pub description: Option<String>,
    pub labels: Option<Labels>,
    /// Refuse unless the resource is at this revision.
    pub expected_revision: Option<u64>,
}

impl Changes {
    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        if let Some(name) = &self.name {
            validate_resource_name("name", name)?;
        }
        if let Some(description) = &self.description {
            validate_description(description)?;
        }
        self.labels.as_ref().map_or(Ok(()), validate_labels)
    }
}

impl Meta {
    /// The project that it belongs to.
    pub fn scope(&self) -> Scope {
        Scope::Project(self.org_id.clone(), self.project_id.clone())
    }

    /// Makes it a revision newer. Only what has changed is: a change that changes nothing keeps revision and time.
    pub fn touch(&mut self, now: Time) {
        self.updated_at = now;
        self.revision += 1;
    }

    /// Applies validated changes, without [`touch`](Self::touch): whoever compares before and after does that.
    ///
    /// Errors: `Conflict` when another revision was expected.
    pub fn apply(&mut self, kind: Kind, changes: Changes) -> Result<(), Error> {
        if let Some(expected) = changes.expected_revision
            && expected != self.revision
        {
            return Err(Error::Conflict {
                kind: kind.noun,
                id: self.name.clone(),
                expected,
                actual: self.revision,
            });
        }
        if let Some(name) = changes.name {
            self.name = name;
        }
        if let Some(description) = changes.description {
            self.description = description;
        }
        if let Some(labels) = changes.labels {
            self.labels = labels;
        }
        Ok(())
    }

    /// Whether it has all of `wanted`.
    pub fn has_labels(&self, wanted: &Labels) -> bool {
        wanted
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VPC: Kind = Kind {
        service: "network",
        plural: "vpcs",
        noun: "VPC",
    };

    fn meta() -> Meta {
        NewMeta {
            org_id: "acme".parse().unwrap(),
            project_id: "web".parse().unwrap(),
            owner: PrincipalId::generate(),
            name: "front".into(),
            description: String::new(),
            labels: Labels::new(),
        }
        .into_meta(Time::EPOCH)
    }

    #[test]
    fn only_what_is_given_changes() {
        let mut meta = meta();
        let changes = Changes {
            description: Some("edge".into()),
            ..Changes::default()
        };
        meta.apply(VPC, changes).unwrap();
        assert_eq!(meta.revision, 1);
        meta.touch(Time::now());
        assert_eq!(
            (meta.name.as_str(), meta.description.as_str()),
            ("front", "edge")
        );
        assert_eq!(meta.revision, 2);
        assert!(meta.updated_at > meta.created_at);
    }

    #[test]
    fn another_revision_than_expected_changes_nothing() {
        let before = meta();
        let mut changed = before.clone();
        let changes = Changes {
            name: Some("back".into()),
            expected_revision: Some(7),
            ..Changes::default()
        };
        let error = changed.apply(VPC, changes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "VPC 'front' is at revision 1, not 7: read it again and repeat the change"
        );
        assert_eq!(changed, before);
    }

    #[test]
    fn labels_filter_by_all_of_the_wanted() {
        let mut meta = meta();
        meta.labels = Labels::from([("tier".into(), "1".into()), ("env".into(), "prod".into())]);
        assert!(meta.has_labels(&Labels::new()));
        assert!(meta.has_labels(&Labels::from([("tier".into(), "1".into())])));
        assert!(!meta.has_labels(&Labels::from([("tier".into(), "2".into())])));
        assert!(!meta.has_labels(&Labels::from([("zone".into(), "1".into())])));
    }
}
