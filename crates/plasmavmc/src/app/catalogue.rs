//! The catalogue: public images that the settings name. They are the cloud's own, in no project, and each has the label
//! `catalogue` with its name.
//!
//! An image of the catalogue is imported under a name with the beginning of its SHA-256, and gets the catalogue's when
//! it is there. Another that had it until then goes back to its long name in the same change, is public no more, and is
//! deleted when no VM uses it. Each of these is a change of its own, and the next pass goes on wherever a crash has left off.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use chainfire::Ledger;
use photon_catalog::{Actor, Change, Query, Stored, commit_own, list};
use photon_reconcile::{Driver, Plan, Reconciler, Signal, Timing};
use photon_resource::{Changes, Error, PageRequest, PrincipalId, Scope};
use tokio_util::sync::CancellationToken;

use super::image::{Delete, Switch, Update};
use super::{Fetched, Images};
use crate::model::{ExpectedFile, Image, ImageChanges, ImageFormat, ImagePart, NewImage};
use crate::settings::Offer;
use crate::store;

/// The label by which an image is known to be of the catalogue.
const LABEL: &str = "catalogue";

/// Looks whether all is there that should be.
const EVERY: Duration = Duration::from_secs(3600);

/// After a failed download.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(900));

/// How many digits of the sum a long name has.
const DIGITS: usize = 12;

/// Keeps the catalogue filled.
pub struct Catalogue {
    images: Images,
    ledger: Ledger,
    actor: Actor,
    offers: BTreeMap<String, Offer>,
}

/// An image of the catalogue, as it is.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    image: Image,
    used: bool,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Take the name of the catalogue from an image that is no more of it.
    Retire(Image),
    /// Give an image what the settings say of it.
    Offer(Image, String),
    /// The same, and take the name from the one that has it, which has another content.
    Switch { from: Image, to: Box<Image> },
    /// Fetch this one.
    Import(String),
    /// Nobody uses it, and nobody can.
    Remove(Image),
}

struct Steps(Vec<Step>);

impl Plan for Steps {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn summary(&self) -> String {
        let steps = self.0.iter().map(|step| match step {
            Step::Retire(image) => format!("retire {}", image.name),
            Step::Offer(_, name) => format!("offer {name}"),
            Step::Switch { from, to } => format!("offer {} in the place of {}", to.name, from.name),
            Step::Import(name) => format!("import {name}"),
            Step::Remove(image) => format!("remove {}", image.name),
        });
        steps.collect::<Vec<_>>().join(", ")
    }
}

/// The name by which the settings have an image.
fn entry(image: &Image) -> &str {
    image.labels.get(LABEL).map_or("", String::as_str)
}

/// What has to be done so that `kept` is what `offers` says. Removals and what costs no download come first. As long as the
/// new content of a name is not there, the old one keeps it.
fn plan(offers: &BTreeMap<String, Offer>, kept: &[Kept]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut imports = Vec::new();
    let current = |name: &str, offer: &Offer| {
        let mut images = kept.iter().map(|kept| &kept.image);
        images.find(|image| entry(image) == name && sum(image) == offer.sum())
    };
    let mut switched = Vec::new();
    for Kept { image, used } in kept {
        let offer = offers.get(entry(image));
        if offer.is_some_and(|offer| offer.sum() == sum(image)) {
            continue;
        }
        let named = image.name == entry(image);
        if !image.public && !named {
            if !used {
                steps.push(Step::Remove(image.clone()));
            }
            continue;
        }
        match offer.map(|offer| current(entry(image), offer)) {
            Some(None) => {}
            Some(Some(to)) if named => {
                let (from, to) = (image.clone(), Box::new(to.clone()));
                switched.push(entry(image));
                steps.push(Step::Switch { from, to });
            }
            _ => steps.push(Step::Retire(image.clone())),
        }
    }
    for (name, offer) in offers {
        match current(name, offer) {
            None => imports.push(Step::Import(name.clone())),
            Some(image) if as_offered(image, name, offer) == *image => {}
            Some(_) if switched.contains(&name.as_str()) => {}
            Some(image) => steps.push(Step::Offer(image.clone(), name.clone())),
        }
    }
    steps.extend(imports);
    steps
}

/// The SHA-256 of its disk.
fn sum(image: &Image) -> String {
    let disk = image.file(ImagePart::Disk);
    disk.map(|disk| disk.sha256.clone()).unwrap_or_default()
}

fn long_name(name: &str, sum: &str) -> String {
    // A name has at most 63 characters.
    let name: String = name.chars().take(62 - DIGITS).collect();
    format!(
        "{}-{}",
        name.trim_end_matches('-'),
        &sum[..DIGITS.min(sum.len())]
    )
}

fn as_offered(image: &Image, name: &str, offer: &Offer) -> Image {
    Image {
        name: name.to_owned(),
        public: true,
        description: offer.description.clone(),
        default_user: offer.default_user.clone(),
        ..image.clone()
    }
}

impl Catalogue {
    /// Of the images that `offers` names.
    pub fn new(
        images: Images,
        ledger: Ledger,
        actor: Actor,
        offers: BTreeMap<String, Offer>,
    ) -> Self {
        Self {
            images,
            ledger,
            actor,
            offers,
        }
    }

    /// Keeps it filled until `shutdown`, which a download does not delay.
    pub async fn run(self, shutdown: CancellationToken) {
        let timing = Timing {
            every: EVERY,
            retry_first: RETRY.0,
            retry_most: RETRY.1,
        };
        let driver = Driver::new("image-catalogue", Filling(self), timing, Signal::new());
        shutdown
            .run_until_cancelled(driver.run(CancellationToken::new()))
            .await;
    }

    async fn update(&self, mut change: impl Change<Value = Image>) -> Result<(), Error> {
        let action = Image::KIND.action("update");
        let db = &self.images.db;
        commit_own(db, &self.ledger, &self.actor, &action, &mut change).await?;
        Ok(())
    }

    fn offered(&self, image: &Image, name: &str) -> Update {
        Update {
            id: image.id,
            changes: changes(name, true, self.offers.get(name)),
        }
    }

    async fn import(&self, name: &str, offer: &Offer) -> Result<(), Error> {
        let url = Images::url(&offer.url)?;
        let expected = ExpectedFile {
            sha256: offer.sum(),
            size_bytes: 0,
        };
        let new = NewImage {
            scope: Scope::System,
            // It is nobody's.
            owner: PrincipalId::generate(),
            name: long_name(name, &offer.sum()),
            description: offer.description.clone(),
            labels: [(LABEL.to_owned(), name.to_owned())].into(),
            format: ImageFormat::Raw,
            public: false,
            kernel_command_line: String::new(),
            default_user: offer.default_user.clone(),
            expected: HashMap::from([(ImagePart::Disk, expected)]),
        };
        tracing::info!(
            image = name,
            url = offer.url,
            "fetching an image of the catalogue"
        );
        let fetched = Fetched::default();
        let import = self.images.fetch(&url, new, None, &fetched).await?;
        import.finish_own(&self.ledger, &self.actor).await?;
        let bytes = fetched.received();
        tracing::info!(image = name, bytes, "an image of the catalogue is there");
        Ok(())
    }

    async fn carry_out(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Retire(image) => self.update(retired(image)).await,
            Step::Offer(image, name) => self.update(self.offered(image, name)).await,
            Step::Switch { from, to } => {
                let to = self.offered(to, entry(from));
                let from = retired(from);
                self.update(Switch { from, to }).await
            }
            Step::Import(name) => self.import(name, &self.offers[name]).await,
            Step::Remove(image) => {
                let mut change = Delete::own(image.id);
                let action = Image::KIND.action("delete");
                let db = &self.images.db;
                commit_own(db, &self.ledger, &self.actor, &action, &mut change).await?;
                self.images.collect_garbage().await;
                Ok(())
            }
        }
    }
}

fn retired(image: &Image) -> Update {
    let name = long_name(entry(image), &sum(image));
    Update {
        id: image.id,
        changes: changes(&name, false, None),
    }
}

fn changes(name: &str, public: bool, offer: Option<&Offer>) -> ImageChanges {
    ImageChanges {
        common: Changes {
            name: Some(name.to_owned()),
            description: offer.map(|offer| offer.description.clone()),
            ..Default::default()
        },
        public: Some(public),
        default_user: offer.map(|offer| offer.default_user.clone()),
    }
}

/// The catalogue at work.
struct Filling(Catalogue);

#[async_trait]
impl Reconciler for Filling {
    type Observed = Vec<Kept>;
    type Plan = Steps;
    type Error = String;

    async fn observe(&mut self) -> Result<Option<Vec<Kept>>, String> {
        kept(&self.0.images)
            .await
            .map(Some)
            .map_err(|error| error.to_string())
    }

    fn plan(&self, observed: &Vec<Kept>) -> Steps {
        Steps(plan(&self.0.offers, observed))
    }

    /// Goes on with the others when one fails: what one server has lost keeps no other image away.
    async fn apply(&mut self, plan: &Steps) -> Result<(), String> {
        let mut failed = Vec::new();
        for step in &plan.0 {
            if let Err(error) = self.0.carry_out(step).await {
                failed.push(format!("{}: {error}", Steps(vec![step.clone()]).summary()));
            }
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(failed.join("; ")),
        }
    }
}

/// All images of the catalogue.
async fn kept(images: &Images) -> Result<Vec<Kept>, Error> {
    let mut kept = Vec::new();
    let mut after = None;
    loop {
        let query = Query {
            scope: Scope::System,
            name: String::new(),
            labels: Default::default(),
            page: PageRequest { size: 100, after },
        };
        let own = |image: &Image| image.scope == Scope::System && image.labels.contains_key(LABEL);
        let page = list(&images.db, query, own).await?;
        for image in page.items {
            let users = store::image::users_of_image(image.id);
            let used = !users.ids(&mut images.db.begin()).await?.is_empty();
            kept.push(Kept { image, used });
        }
        if page.next_page_token.is_empty() {
            return Ok(kept);
        }
        after = PageRequest::parse(100, &page.next_page_token)?.after;
    }
}

#[cfg(test)]
mod tests;
