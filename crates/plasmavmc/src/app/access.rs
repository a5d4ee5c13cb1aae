//! What is special about reaching images and VMs: public images are everybody's, and user data is not for all who see a
//! VM.

use photon_catalog::access::borrowed;
use photon_catalog::stored::attributes_of;
use photon_catalog::{Access, Named, Stored};
use photon_resource::{Caller, Error, ImageId};

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

/// Whether the caller is shown the VM's user data.
pub async fn sees_user_data(access: &Access, caller: &Caller, vm: &Vm) -> Result<bool, Error> {
    let attributes = attributes_of(vm);
    let action = Vm::KIND.action("getUserData");
    access
        .guard()
        .may_also(caller, &action, &vm.resource(), &borrowed(&attributes))
        .await
}
