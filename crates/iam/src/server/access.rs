//! Whether a call may reach what it names. What is hidden reads as what is absent, word for word, as in
//! [`photon_catalog::Access`], which can't serve here: IAM's things are named otherwise, and built-in roles have no record.

use photon_resource::{Caller, Error, Extent, ResourceName};

use super::Server;
use crate::app::authorization;

/// What is to be done to something, and how the caller names it.
pub(super) struct Sought<'a> {
    pub action: &'a str,
    /// What such a thing is called.
    pub noun: &'static str,
    /// Its id or name as it was given.
    pub given: &'a str,
    /// All such things where it would be, if it were.
    pub nearest: ResourceName,
}

/// A resource, and what conditions can read of it.
pub(super) type Described = (ResourceName, Vec<(&'static str, String)>);

impl Server {
    /// Those of a page of `all` that the caller may `get`: see [`photon_catalog::Access::listed`], which does the same for other
    /// components.
    pub(super) async fn shown<T>(
        &self,
        caller: &Caller,
        get: &str,
        all: &ResourceName,
        items: Vec<T>,
        describe: impl Fn(&T) -> Described,
    ) -> Result<Vec<T>, Error> {
        if !self.on_a_condition(caller, get, all).await? {
            return Ok(items);
        }
        let asked = items.iter().map(|item| {
            let (name, facts) = describe(item);
            let facts = facts.into_iter().map(|(key, it)| (key.to_owned(), it));
            photon_resource::Described {
                name,
                attributes: facts.collect(),
            }
        });
        let asked = asked.collect();
        let allowed = self.guard.may_each(caller, get, asked).await?;
        let shown = items.into_iter().zip(allowed);
        Ok(shown
            .filter_map(|(it, allowed)| allowed.then_some(it))
            .collect())
    }

    /// Whether the caller may `get` some of `all` alone.
    pub(super) async fn on_a_condition(
        &self,
        caller: &Caller,
        get: &str,
        all: &ResourceName,
    ) -> Result<bool, Error> {
        Ok(self.guard.extent(caller, get, all).await? == Extent::Some)
    }

    /// What was `found`, if the caller may do that to it; `describe` says which resource that is to policies. What the
    /// caller may not do that to is answered as what is absent: as all that is in `nearest`, where such a thing would be.
    ///
    /// Errors: `PermissionDenied` for whoever may do that with nothing there, on whatever condition, else `NotFound`. A refusal is recorded
    /// under the resource's real name.
    pub(super) async fn reveal<T>(
        &self,
        caller: &Caller,
        sought: Sought<'_>,
        found: Result<T, Error>,
        describe: impl FnOnce(&T) -> Described,
    ) -> Result<T, Error> {
        let Sought {
            action,
            noun,
            given,
            nearest,
        } = sought;
        let hidden = match found {
            Ok(found) => {
                let (name, facts) = describe(&found);
                let facts: Vec<(&str, &str)> = facts
                    .iter()
                    .map(|(key, value)| (*key, value.as_str()))
                    .collect();
                match self.guard.authorize(caller, action, &name, &facts).await {
                    Ok(()) => return Ok(found),
                    // Recorded; the answer comes below.
                    Err(Error::PermissionDenied { .. } | Error::NotFound { .. }) => true,
                    Err(error) => return Err(error),
                }
            }
            Err(Error::NotFound { .. }) => false,
            Err(error) => return Err(error),
        };
        let nearest = if caller.may_see(nearest.scope()) {
            nearest
        } else {
            ResourceName::any(caller.claims.scope(), nearest.kind())
        };
        match self.guard.judge(caller, action, &nearest, &[]).await {
            Ok(()) => {}
            Err(Error::PermissionDenied { .. })
                if authorization::allowed_on_a_condition(&self.core, caller, action, &nearest)
                    .await? => {}
            Err(denied) => {
                // One refusal is one event.
                if let (Error::PermissionDenied { reason, .. }, false) = (&denied, hidden) {
                    self.guard.record(caller, action, &nearest, reason).await;
                }
                return Err(denied);
            }
        }
        Err(Error::not_found(noun, given))
    }
}
