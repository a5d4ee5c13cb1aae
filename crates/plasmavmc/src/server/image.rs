//! `plasmavmc.v1.ImageService`.

use std::time::Duration;

use async_trait::async_trait;
use photon_api::plasmavmc::v1::image_service_server::ImageService;
use photon_api::plasmavmc::v1::import_image_request::Message;
use photon_api::plasmavmc::v1::{
    DeleteImageRequest, DeleteImageResponse, GetImageRequest, GetImageResponse, ImportImageRequest,
    ImportImageResponse, ListImagesRequest, ListImagesResponse, UpdateImageRequest,
    UpdateImageResponse,
};
use photon_resource::Error;
use photon_service::Guard;
use tonic::{Request, Response, Status, Streaming};

use crate::app::{Begun, Images};

/// An import whose sender falls silent for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);

pub struct ImageServer {
    guard: Guard,
    images: Images,
}

impl ImageServer {
    pub fn new(guard: Guard, images: Images) -> Self {
        Self { guard, images }
    }
}

#[async_trait]
impl ImageService for ImageServer {
    async fn import_image(
        &self,
        request: Request<Streaming<ImportImageRequest>>,
    ) -> Result<Response<ImportImageResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let mut stream = request.into_inner();
        let Some(Message::Header(header)) = next(&mut stream).await? else {
            return Err(expected("header").into());
        };
        let mut import = match self.images.import(&caller, header).await? {
            Begun::Import(import) => import,
            Begun::Imported(response) => return Ok(Response::new(*response)),
        };
        while let Some(message) = next(&mut stream).await? {
            let Message::Chunk(chunk) = message else {
                return Err(expected("chunk").into());
            };
            import.chunk(chunk).await?;
        }
        Ok(Response::new(import.finish().await?))
    }

    async fn get_image(
        &self,
        request: Request<GetImageRequest>,
    ) -> Result<Response<GetImageResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let image = self.images.get(&caller, request.get_ref()).await?;
        Ok(Response::new(GetImageResponse { image: Some(image) }))
    }

    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let page = self.images.list(&caller, request.get_ref()).await?;
        Ok(Response::new(ListImagesResponse {
            images: page.items,
            next_page_token: page.next_page_token,
        }))
    }

    async fn update_image(
        &self,
        request: Request<UpdateImageRequest>,
    ) -> Result<Response<UpdateImageResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let response = self.images.update(&caller, request.get_ref()).await?;
        Ok(Response::new(response))
    }

    async fn delete_image(
        &self,
        request: Request<DeleteImageRequest>,
    ) -> Result<Response<DeleteImageResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let response = self.images.delete(&caller, request.get_ref()).await?;
        Ok(Response::new(response))
    }
}

/// The next message of an import; `None` at its end.
async fn next(stream: &mut Streaming<ImportImageRequest>) -> Result<Option<Message>, Status> {
    let silent = || {
        Status::from(Error::Unavailable(format!(
            "nothing was sent for {} s: the import was given up, and nothing of it is kept",
            SILENCE.as_secs()
        )))
    };
    let message = tokio::time::timeout(SILENCE, stream.message())
        .await
        .map_err(|_| silent())??;
    match message {
        None => Ok(None),
        Some(ImportImageRequest { message: Some(it) }) => Ok(Some(it)),
        Some(ImportImageRequest { message: None }) => Err(expected("chunk").into()),
    }
}

fn expected(what: &str) -> Error {
    let expected = match what {
        "header" => "'header' in the first message",
        _ => "'chunk' in every message after the first",
    };
    Error::invalid("message", "", expected)
}
