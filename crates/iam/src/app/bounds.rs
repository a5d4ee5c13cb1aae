//! How much one principal may have, so that deciding about it stays quick: each decision reads all of it.

use photon_resource::{Error, PrincipalId, Scope};

use super::Core;
use crate::model::{Permission, Principal};
use crate::store::{api_key, binding, s3_key};

/// Bindings of one principal.
const BINDINGS: usize = 64;
/// Permissions that its bindings give it, together.
const PERMISSIONS: usize = 1000;
/// Bytes of their conditions, together.
const CONDITIONS: usize = 64 << 10;

/// API keys of one principal, which are read with it, and S3 keys: nobody uses up what the whole organization may have.
const KEYS: usize = 100;

/// How much there is to read at each decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight {
    permissions: usize,
    conditions: usize,
}

impl Weight {
    fn of<'a>(permissions: impl IntoIterator<Item = &'a Permission>) -> Self {
        permissions.into_iter().fold(Self::default(), |sum, it| {
            let condition = it.condition.as_ref().map(ToString::to_string);
            Self {
                permissions: sum.permissions + 1,
                conditions: sum.conditions + condition.map_or(0, |text| text.len()),
            }
        })
    }

    fn check(self, name: &str) -> Result<(), Error> {
        for (quota, used, limit, what) in [
            (
                "permissions",
                self.permissions,
                PERMISSIONS,
                "permissions of all its roles",
            ),
            (
                "conditions",
                self.conditions,
                CONDITIONS,
                "bytes of conditions in all its roles",
            ),
        ] {
            if used > limit {
                let text = format!(
                    "'{name}' would have {used} {what}: at most {limit}, so that every call can be decided quickly"
                );
                return Err(Error::quota_exceeded(
                    quota,
                    used as u64,
                    limit as u64,
                    text,
                ));
            }
        }
        Ok(())
    }
}

/// Whether a principal may get one more binding, of a role with these permissions; guard it with the principal's credentials.
///
/// Errors: `AlreadyExists` if it has the role at the scope, `QuotaExceeded`.
pub(super) async fn check_binding(
    core: &Core,
    tx: &flaredb::Transaction,
    who: &Principal,
    (role_id, permissions): (&str, &[Permission]),
    scope: &Scope,
) -> Result<(), Error> {
    let own = binding::binding_of(tx, who.id, BINDINGS).await?;
    let same = |it: &&crate::model::Binding| it.role_id == role_id && it.scope == *scope;
    if let Some(same) = own.iter().find(same) {
        let what = format!("{} of '{}' at {scope}: {}", role_id, who.name, same.id);
        return Err(Error::already_exists("binding", what));
    }
    if own.len() >= BINDINGS {
        let text = format!(
            "'{}' has its {BINDINGS} bindings: remove one, or make one role of several",
            who.name
        );
        let (used, limit) = (own.len() as u64, BINDINGS as u64);
        return Err(Error::quota_exceeded("bindings", used, limit, text));
    }
    check_with(core, who.id, None, permissions).await
}

/// Whether a principal may get one more API key; guard it with the principal's credentials.
///
/// Errors: `QuotaExceeded`.
pub(super) async fn check_api_key(tx: &flaredb::Transaction, who: &Principal) -> Result<(), Error> {
    let used = api_key::api_key_count(tx, who.id, KEYS).await?;
    check_keys(used, "api_keys", "API keys", who)
}

/// As [`check_api_key`], an S3 key.
pub(super) async fn check_s3_key(tx: &flaredb::Transaction, who: &Principal) -> Result<(), Error> {
    let used = s3_key::s3_key_count(tx, who.id, KEYS).await?;
    check_keys(used, "s3_keys", "S3 keys", who)
}

fn check_keys(used: usize, quota: &'static str, what: &str, who: &Principal) -> Result<(), Error> {
    if used < KEYS {
        return Ok(());
    }
    let text = format!(
        "'{}' has its {KEYS} {what}: delete one that is not needed any more",
        who.name
    );
    Err(Error::quota_exceeded(quota, used as u64, KEYS as u64, text))
}

/// Whether a principal may have one more grant of these permissions, in place of all that it has of the role `instead`.
///
/// Errors: `QuotaExceeded`.
pub(super) async fn check_with(
    core: &Core,
    who: PrincipalId,
    instead: Option<&str>,
    permissions: &[Permission],
) -> Result<(), Error> {
    let Some(known) = core.live.known(who).await? else {
        return Ok(());
    };
    let mut all: Vec<&Permission> = Vec::new();
    let mut given = usize::from(instead.is_none());
    for grant in known.rights.grants() {
        if instead == Some(grant.binding.role_id.as_str()) {
            given += 1;
        } else {
            all.extend(&grant.permissions);
        }
    }
    for _ in 0..given {
        all.extend(permissions);
    }
    Weight::of(all).check(&known.principal.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(condition: &str) -> Permission {
        Permission {
            action: "compute:*".parse().unwrap(),
            resource: "*".parse().unwrap(),
            condition: (!condition.is_empty()).then(|| condition.parse().unwrap()),
        }
    }

    #[test]
    fn what_a_decision_reads_is_bounded_in_number_and_in_length() {
        let plain = permission("");
        let most = vec![&plain; PERMISSIONS];
        assert!(Weight::of(most.clone()).check("bob").is_ok());
        let more = most.into_iter().chain([&plain]);
        let refusal = Weight::of(more).check("bob").unwrap_err().to_string();
        assert!(
            refusal.starts_with("'bob' would have 1001 permissions of all its roles: at most 1000"),
            "{refusal}"
        );
        let long = permission(&format!("resource.id == \"{}\"", "x".repeat(1900)));
        let refusal = Weight::of(vec![&long; 40]).check("bob").unwrap_err();
        assert!(matches!(
            refusal,
            Error::QuotaExceeded {
                quota: "conditions",
                ..
            }
        ));
    }
}
