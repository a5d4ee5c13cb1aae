//! Who uses a resource, so that it is not deleted under them.
//!
//! A user is added without reading the set, so that a thousand ports can be made at once; whoever judges the
//! set touches the key that every adder writes, and so loses to any of them.

use flaredb::{Record, Transaction};
use photon_resource::Error;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::resource::{Reference, Stored, get};

/// As many users as an error names.
const NAMED: usize = 3;

#[derive(Serialize, Deserialize)]
struct Added {}

impl Record for Added {
    const KIND: &'static str = "addition";
    const VERSION: u32 = 1;
}

/// The set of those who use one resource in one way.
pub struct Users {
    /// Prefix of the users' keys.
    prefix: String,
    /// Written with every addition.
    guard: String,
}

impl Users {
    /// The subnets of a VPC.
    pub fn subnets_of_vpc(vpc: photon_resource::VpcId) -> Self {
        Self {
            prefix: format!("vpc-subnet/{vpc}/"),
            guard: format!("vpc-users/{vpc}"),
        }
    }

    /// The ports of a subnet.
    pub fn ports_of_subnet(subnet: photon_resource::SubnetId) -> Self {
        Self {
            prefix: format!("subnet-port/{subnet}/"),
            guard: format!("subnet-users/{subnet}"),
        }
    }

    /// The ports in a security group.
    pub fn ports_of_group(group: photon_resource::SecurityGroupId) -> Self {
        Self {
            prefix: format!("group-port/{group}/"),
            guard: format!("group-users/{group}"),
        }
    }

    /// The other groups whose rules name a security group.
    pub fn rules_of_group(group: photon_resource::SecurityGroupId) -> Self {
        Self {
            prefix: format!("group-rule/{group}/"),
            guard: format!("group-users/{group}"),
        }
    }

    /// Where the references lie.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn add(&self, tx: &mut Transaction, id: Uuid) -> Result<(), Error> {
        tx.put(&format!("{}{id}", self.prefix), &Reference { id })?;
        tx.put(&self.guard, &Added {})?;
        Ok(())
    }

    pub(super) fn remove(&self, tx: &mut Transaction, id: Uuid) {
        tx.delete(&format!("{}{id}", self.prefix));
    }

    /// Forgets the set with the resource itself.
    pub(super) fn forget(&self, tx: &mut Transaction) {
        tx.delete(&self.guard);
    }

    /// All users; if the transaction commits, none was added meanwhile.
    pub(super) async fn ids(&self, tx: &mut Transaction) -> Result<Vec<Uuid>, Error> {
        tx.touch(&self.guard).await?;
        let entries: Vec<(String, Reference)> = tx.scan(&self.prefix).await?;
        Ok(entries.into_iter().map(|(_, entry)| entry.id).collect())
    }

    /// Errors: `FailedPrecondition` naming the first users, which are of type `U`.
    pub(super) async fn expect_none<U: Stored>(
        &self,
        tx: &mut Transaction,
        what: &str,
        plural: &str,
        remedy: &str,
    ) -> Result<(), Error> {
        let ids = self.ids(tx).await?;
        if ids.is_empty() {
            return Ok(());
        }
        let mut names = Vec::new();
        for id in ids.iter().take(NAMED) {
            match get::<U>(tx, (*id).into()).await {
                Ok(user) => names.push(format!("'{}'", user.meta().name)),
                // Deleted since the set was read.
                Err(_) => names.push(format!("'{id}'")),
            }
        }
        let mut list = names.join(", ");
        if ids.len() > NAMED {
            list.push_str(&format!(" and {} more", ids.len() - NAMED));
        }
        Err(Error::FailedPrecondition(format!(
            "{what} is in use by {plural} {list}: {remedy}"
        )))
    }
}
