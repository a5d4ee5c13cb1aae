//! Images: changed but for their content, deleted when no VM uses them.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, get, load};
use photon_fetch::{Fetcher, Reach};
use photon_resource::{Caller, Error, ImageId, VmId};
use photon_service::Mutation;

use super::underway::AllUnderway;
use crate::model::{Image, ImageChanges, Vm};
use crate::settings::Settings;
use crate::store;
use crate::store::blob::Blobs;

/// As many VMs as an error names.
const NAMED: usize = 5;

/// The images of all tenants. Clones are the same.
#[derive(Clone)]
pub struct Images {
    pub(super) db: Db,
    pub(super) blobs: Blobs,
    pub(super) settings: Settings,
    pub(super) underway: AllUnderway,
    pub(super) fetcher: Fetcher,
}

impl Images {
    /// Those in `db`, their files in `blobs`.
    pub fn new(db: Db, blobs: Blobs, settings: Settings) -> Self {
        let reach = Reach::with(settings.image_networks.iter().copied());
        Self {
            db,
            blobs,
            fetcher: Fetcher::new(&settings.fetch_socket, reach),
            settings,
            underway: AllUnderway::default(),
        }
    }

    /// One page: the scope's own images, then the public ones of others.
    pub async fn list(&self, query: Query) -> Result<Listing<Image>, Error> {
        store::image::image_list(&self.db, query).await
    }

    /// Changes what is given; never the content.
    ///
    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: ImageId,
        changes: ImageChanges,
        answer: impl Fn(&Image) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Removes an image that no VM uses; its files go when no other image has them.
    ///
    /// Errors: `NotFound`, `FailedPrecondition` while a VM uses it.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: ImageId,
    ) -> Result<A, Error> {
        let mut change = Delete {
            seen_by: Some((self, mutation.caller().clone())),
            id,
        };
        let (answer, deleted) = commit(&self.db, mutation, &mut change, |_| A::default()).await?;
        if deleted.is_some() {
            let images = self.clone();
            tokio::spawn(async move { images.collect_garbage().await });
        }
        Ok(answer)
    }

    /// Says which VMs are in the way, as far as the caller may know of them.
    async fn in_use(&self, caller: &Caller, image: &Image, users: &[VmId]) -> Error {
        let mut names = Vec::new();
        for id in users {
            if let Ok(Some(vm)) = load::<Vm>(&self.db, id).await
                && caller.may_see(&vm.scope())
            {
                names.push(format!("'{}'", vm.meta.name));
            }
            if names.len() == NAMED {
                break;
            }
        }
        let shown = match names.as_slice() {
            [] => "VMs of other tenants".to_owned(),
            names if names.len() == users.len() => format!("VM {}", names.join(", ")),
            names => format!("{} VMs, among them {}", users.len(), names.join(", ")),
        };
        let text = format!(
            "image '{}' is in use by {shown}: delete them first",
            image.name
        );
        Error::in_use(ImageId::KIND, image.id, text)
    }

    /// Removes the files that no image refers to. What fails is tried again at the next deletion or start.
    pub async fn collect_garbage(&self) {
        let in_use = async || store::image::blobs_in_use(&self.db).await;
        match self.blobs.collect(in_use).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "files of deleted images removed"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "files of deleted images could not be removed")
            }
            Err(error) => tracing::warn!(%error, "the images in use could not be read"),
        }
    }
}

/// Writes what an update changes.
pub(super) struct Update {
    pub id: ImageId,
    pub changes: ImageChanges,
}

impl Update {
    /// The image as it is then, and whether that is something new.
    async fn write(&self, tx: &mut Transaction) -> Result<(Image, bool), Error> {
        let before: Image = get(tx, &self.id).await?;
        let after = before.with(self.changes.clone())?;
        let changed = after != before;
        if changed {
            store::image::image_update(tx, &before, &after).await?;
        }
        Ok((after, changed))
    }
}

#[async_trait]
impl Change for Update {
    type Value = Image;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Image>, Error> {
        Ok(match self.write(tx).await? {
            (after, true) => Effect::on(after),
            (after, false) => Effect::nothing(after),
        })
    }
}

/// Gives one image the name that another has, without a moment in which neither has it.
pub(super) struct Switch {
    /// What the one that has it is from then on.
    pub from: Update,
    /// What the one that gets it is.
    pub to: Update,
}

#[async_trait]
impl Change for Switch {
    type Value = Image;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Image>, Error> {
        let (before, _) = self.from.write(tx).await?;
        let (after, _) = self.to.write(tx).await?;
        let why = format!("in the place of {}, now {}", before.resource(), before.name);
        Ok(Effect::on(after).because(why))
    }
}

/// Removes the records of an image that no VM uses.
pub(super) struct Delete<'a> {
    /// Who is told which VMs are in the way.
    seen_by: Option<(&'a Images, Caller)>,
    id: ImageId,
}

impl Delete<'_> {
    /// By the server itself.
    pub(super) fn own(id: ImageId) -> Self {
        Self { seen_by: None, id }
    }
}

#[async_trait]
impl Change for Delete<'_> {
    type Value = Image;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Image>, Error> {
        let users = store::image::users_of_image(self.id).ids(tx).await?;
        let image: Image = get(tx, &self.id).await?;
        if !users.is_empty() {
            let users: Vec<VmId> = users
                .iter()
                .map(|id| id.parse())
                .collect::<Result<_, Error>>()?;
            return Err(match &self.seen_by {
                Some((images, caller)) => images.in_use(caller, &image, &users).await,
                None => Error::in_use(ImageId::KIND, image.id, image.name),
            });
        }
        store::image::image_remove(tx, &image);
        Ok(Effect::on(image))
    }
}
