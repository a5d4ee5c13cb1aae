//! What is special about reaching images and VMs: public images are everybody's, and user data is not for all who see a
//! VM.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use photon_catalog::access::borrowed;
use photon_catalog::stored::attributes_of;
use photon_catalog::{Access, Named, Stored};
use photon_resource::{Caller, Error, ImageId, PrincipalId, VmId};
use tokio::time::Instant;

use crate::model::{Image, Vm};
use crate::store;

/// The image that is named, to look at it or to start a VM from it: the project's own, or a public one, which is as if
/// it were everybody's own.
///
/// Errors: those of [`Access::reach`].
pub async fn image_to_use(
    access: &Access,
    caller: &Caller,
    named: Named<'_>,
) -> Result<Image, Error> {
    let claims = &caller.claims;
    let by_name = named.id.parse::<ImageId>().is_err();
    let no_project = claims.project_id.is_none() && named.project_id.is_empty();
    let no_org = claims.org_id.is_none() && named.org_id.is_empty();
    let (mut found, mut nearest) = if by_name && no_project && !no_org && !named.id.is_empty() {
        // A token for a whole organization still finds what is public.
        (None, claims.scope())
    } else {
        access.look_up::<Image>(caller, named).await?
    };
    // What another tenant has under a name is not told by what is found instead.
    let ours = caller.may_see(&nearest);
    if found.is_none() && by_name && ours {
        found = store::image::public_image(access.db(), named.id).await?;
    }
    if !ours {
        nearest = claims.scope();
    }
    match found {
        Some(image) if image.public && (ours || !by_name) => {
            let own = Image {
                scope: nearest.clone(),
                ..image.clone()
            };
            access
                .reveal(caller, "get", Some(own), nearest, named.id)
                .await?;
            Ok(image)
        }
        found => access.reveal(caller, "get", found, nearest, named.id).await,
    }
}

/// Who was given which VM's user data lately: recorded once in a while, since programs look at VMs every second. Clones
/// are the same.
#[derive(Clone, Default)]
pub struct Readers(Arc<Mutex<HashMap<Reading, Instant>>>);

/// Who was given which VM's user data, after how many changes of them.
type Reading = (PrincipalId, VmId, u64);

impl Readers {
    /// After so long it is recorded again.
    const AGAIN: Duration = Duration::from_secs(3600);
    /// The most that are remembered. Beyond them more is recorded than need be, never less.
    const MOST: usize = 4096;

    /// Whether the caller is shown the VM's user data, which is recorded.
    ///
    /// Errors: of IAM, and when it can't be recorded.
    pub async fn may_see(&self, access: &Access, caller: &Caller, vm: &Vm) -> Result<bool, Error> {
        let attributes = attributes_of(vm);
        let action = Vm::KIND.action("getUserData");
        let (guard, resource) = (access.guard(), vm.resource());
        let attributes = borrowed(&attributes);
        if !guard
            .may_also(caller, &action, &resource, &attributes)
            .await?
        {
            return Ok(false);
        }
        let reading = (caller.claims.principal_id, vm.id, vm.user_data_changes);
        if !self.knows(&reading) {
            let reason = "was shown the user data";
            guard
                .record_access(caller, &action, &resource, reason)
                .await?;
            self.note(reading);
        }
        Ok(true)
    }

    fn knows(&self, reading: &Reading) -> bool {
        self.lock()
            .get(reading)
            .is_some_and(|recorded| recorded.elapsed() < Self::AGAIN)
    }

    fn note(&self, reading: Reading) {
        let mut readers = self.lock();
        if readers.len() >= Self::MOST {
            readers.retain(|_, recorded| recorded.elapsed() < Self::AGAIN);
        }
        if readers.len() >= Self::MOST {
            readers.clear();
        }
        readers.insert(reading, Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Reading, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
