//! `ImageService`.

use std::time::Duration;

use photon_api::plasmavmc::v1 as pb;
use photon_api::plasmavmc::v1::image_service_server::ImageService;
use photon_api::plasmavmc::v1::import_image_request::Message;
use photon_catalog::access::borrowed;
use photon_catalog::desk::WatchStream;
use photon_catalog::stored::attributes;
use photon_catalog::{Access, Answer, Desk, Named, News, Stored};
use photon_resource::{Caller, Error, ResourceName, Scope};
use photon_service::{Mutation, Supervision, answer};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use url::Url;

use crate::model::{Image, ImageFormat, NewImage};
use crate::{app, convert};

/// An import whose sender falls silent for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// How often an import by URL tells how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// The service over `app`.
pub struct Images {
    desk: Desk<Image>,
    app: app::Images,
}

impl Images {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::Images) -> Self {
        Self {
            desk: Desk::new(access),
            app,
        }
    }

    fn access(&self) -> &Access {
        self.desk.access()
    }

    /// Whether the caller may import what the header says; answers where the image will be. That is judged once: an import
    /// takes longer than a token lasts. A right that is taken away ends it all the same.
    async fn may_import(
        &self,
        caller: &Caller,
        header: &pb::ImportImageHeader,
    ) -> Result<(Scope, Supervision), Error> {
        let guard = self.access().guard();
        let (org_id, project_id) = (&header.org_id, &header.project_id);
        let unsaid = org_id.is_empty() && project_id.is_empty();
        let scope = if unsaid && caller.claims.org_id.is_none() {
            Scope::System
        } else {
            let (org, project) = guard.scope(caller, org_id, project_id)?;
            Scope::Project(org, project)
        };
        let owner = caller.claims.principal_id;
        let attributes = attributes(Some(owner), Some(&header.name), Some(&header.labels));
        let (action, all) = (Image::KIND.action("create"), Image::KIND.any(scope.clone()));
        guard
            .authorize(caller, &action, &all, &borrowed(&attributes))
            .await?;
        if header.public {
            self.may_publish(caller, &action, &all).await?;
        }
        let supervision = guard.supervise_judged(caller.clone(), action, all, attributes);
        Ok((scope, supervision))
    }

    /// Only operators make an image everybody's; `resource` is for the record of a refusal.
    async fn may_publish(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
    ) -> Result<(), Error> {
        if caller.claims.org_id.is_none() {
            return Ok(());
        }
        let reason = "only operators make images public, with a token of the system";
        let guard = self.access().guard();
        guard.record(caller, action, resource, reason).await;
        Err(Error::PermissionDenied {
            action: action.to_owned(),
            resource: resource.to_string(),
            reason: reason.to_owned(),
        })
    }
}

#[tonic::async_trait]
impl ImageService for Images {
    async fn import_image(
        &self,
        request: Request<Streaming<pb::ImportImageRequest>>,
    ) -> Answer<pb::ImportImageResponse> {
        answer(async {
            let caller = self.access().caller(&request).await?;
            let mut stream = request.into_inner();
            let Some(Message::Header(header)) = next(&mut stream).await? else {
                return Err(expected("header"));
            };
            let (scope, mut supervision) = self.may_import(&caller, &header).await?;
            let action = Image::KIND.action("create");
            let mutation = self
                .access()
                .mutation(&caller, &action, &header.request_id, &header)?;
            let owner = caller.claims.principal_id;
            let new = convert::new_image(scope, owner, header.clone())?;
            if let Some(earlier) = self.app.imported(&mutation).await? {
                return Ok(earlier);
            }
            let mut import = self.app.import(new)?;
            loop {
                let message = tokio::select! {
                    message = next(&mut stream) => message?,
                    error = supervision.lost() => return Err(error),
                };
                let Some(message) = message else { break };
                let Message::Chunk(chunk) = message else {
                    return Err(expected("chunk"));
                };
                let part = convert::image_part("chunk.part", chunk.part)?;
                import.chunk(part, chunk.data).await?;
            }
            let imported = |image: &Image| pb::ImportImageResponse {
                image: Some(convert::image_to_wire(image)),
            };
            import.finish(mutation, imported).await
        })
        .await
    }

    type ImportImageFromUrlStream = WatchStream<pb::ImportImageFromUrlResponse>;

    async fn import_image_from_url(
        &self,
        request: Request<pb::ImportImageFromUrlRequest>,
    ) -> Answer<Self::ImportImageFromUrlStream> {
        answer(async {
            let caller = self.access().caller(&request).await?;
            let request = request.into_inner();
            let (header, format) = convert::fetched_image(request.clone())?;
            let (scope, mut supervision) = self.may_import(&caller, &header).await?;
            let action = Image::KIND.action("create");
            let request_id = &header.request_id;
            let mutation = self
                .access()
                .mutation(&caller, &action, request_id, &request)?;
            let url = app::Images::url(&request.url)?;
            let new = convert::new_image(scope, caller.claims.principal_id, header)?;
            new.validate()?;
            let (sender, receiver) = mpsc::channel(1);
            let stream: Self::ImportImageFromUrlStream = Box::pin(ReceiverStream::new(receiver));
            if let Some(earlier) = self.app.imported(&mutation).await? {
                // There is room for one.
                let _ = sender.try_send(Ok(earlier));
                return Ok(stream);
            }
            let images = self.app.clone();
            tokio::spawn(async move {
                let last = tokio::select! {
                    imported = fetched(&images, mutation, &url, new, format, &sender) => imported,
                    error = supervision.lost() => Err(error),
                    // Who asked has gone.
                    () = sender.closed() => return,
                };
                let _ = sender.send(last.map_err(photon_service::status)).await;
            });
            Ok(stream)
        })
        .await
    }

    async fn get_image(
        &self,
        request: Request<pb::GetImageRequest>,
    ) -> Answer<pb::GetImageResponse> {
        answer(async {
            let caller = self.access().caller(&request).await?;
            let request = request.get_ref();
            let named = Named {
                id: &request.id,
                org_id: &request.org_id,
                project_id: &request.project_id,
            };
            let image = app::image_to_use(self.access(), &caller, named).await?;
            Ok(pb::GetImageResponse {
                image: Some(convert::image_to_wire(&image)),
            })
        })
        .await
    }

    async fn list_images(
        &self,
        request: Request<pb::ListImagesRequest>,
    ) -> Answer<pb::ListImagesResponse> {
        self.desk
            .list(
                request,
                |query, _| self.app.list(query),
                |page| pb::ListImagesResponse {
                    images: page.items.iter().map(convert::image_to_wire).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    type WatchImagesStream = WatchStream<pb::WatchImagesResponse>;

    async fn watch_images(
        &self,
        request: Request<pb::WatchImagesRequest>,
    ) -> Answer<Self::WatchImagesStream> {
        self.desk
            .watch(request, |news, revision| {
                let mut told = pb::WatchImagesResponse {
                    revision,
                    ..Default::default()
                };
                match news {
                    News::Now(image) => told.image = Some(convert::image_to_wire(&image)),
                    News::Gone(id) => told.deleted_id = id.to_string(),
                    News::Synced => {}
                }
                told
            })
            .await
    }

    async fn update_image(
        &self,
        request: Request<pb::UpdateImageRequest>,
    ) -> Answer<pb::UpdateImageResponse> {
        self.desk
            .change(
                request,
                "update",
                |mutation, image: Image, request| async move {
                    if request.public == Some(true) && !image.public {
                        let action = Image::KIND.action("update");
                        self.may_publish(mutation.caller(), &action, &image.resource())
                            .await?;
                    }
                    let answer = |image: &Image| pb::UpdateImageResponse {
                        image: Some(convert::image_to_wire(image)),
                    };
                    let changes = convert::image_changes(request);
                    self.app.update(mutation, image.id, changes, answer).await
                },
            )
            .await
    }

    async fn delete_image(
        &self,
        request: Request<pb::DeleteImageRequest>,
    ) -> Answer<pb::DeleteImageResponse> {
        self.desk
            .change(request, "delete", |mutation, image: Image, _| {
                self.app.delete(mutation, image.id)
            })
            .await
    }
}

/// Imports what the URL leads to, and tells meanwhile how far it is.
async fn fetched(
    images: &app::Images,
    mutation: Mutation,
    url: &Url,
    new: NewImage,
    format: Option<ImageFormat>,
    told: &mpsc::Sender<Result<pb::ImportImageFromUrlResponse, Status>>,
) -> Result<pb::ImportImageFromUrlResponse, Error> {
    let fetched = app::Fetched::default();
    let progress = || pb::ImportImageFromUrlResponse {
        image: None,
        received_bytes: fetched.received(),
        total_bytes: fetched.total(),
    };
    let importing = async {
        let import = images.fetch(url, new, format, &fetched).await?;
        let done = progress();
        let imported = |image: &Image| pb::ImportImageFromUrlResponse {
            image: Some(convert::image_to_wire(image)),
            ..done
        };
        import.finish(mutation, imported).await
    };
    tokio::pin!(importing);
    let mut ticks = tokio::time::interval_at(Instant::now() + PROGRESS, PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            imported = &mut importing => return imported,
            _ = ticks.tick() => {
                // One that is not read yet is as good.
                let _ = told.try_send(Ok(progress()));
            }
        }
    }
}

/// The next message of an import; `None` at its end.
async fn next(stream: &mut Streaming<pb::ImportImageRequest>) -> Result<Option<Message>, Error> {
    let silent = || {
        Error::Unavailable(format!(
            "nothing was sent for {} s: the import was given up, and nothing of it is kept",
            SILENCE.as_secs()
        ))
    };
    let message = tokio::time::timeout(SILENCE, stream.message())
        .await
        .map_err(|_| silent())?
        .map_err(broken)?;
    match message {
        None => Ok(None),
        Some(pb::ImportImageRequest { message: Some(it) }) => Ok(Some(it)),
        Some(pb::ImportImageRequest { message: None }) => Err(expected("chunk")),
    }
}

/// The sender has gone, or sends what is no message.
fn broken(status: Status) -> Error {
    Error::Unavailable(format!(
        "the import has ended before its content did: {}",
        status.message()
    ))
}

fn expected(what: &str) -> Error {
    let expected = match what {
        "header" => "'header' in the first message",
        _ => "'chunk' in every message after the first",
    };
    Error::invalid("message", "", expected)
}
