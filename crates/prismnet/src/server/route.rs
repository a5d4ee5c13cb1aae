//! `RouteService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::route_service_server::RouteService;
use photon_catalog::wire::optional_id;
use photon_catalog::{Access, Answer, Desk};
use tonic::Request;

use crate::model::Route;
use crate::{app, convert};

/// The service over `app`.
pub struct Routes {
    desk: Desk<Route>,
    app: app::Routes,
}

impl Routes {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::Routes) -> Self {
        Self {
            desk: Desk::new(access),
            app,
        }
    }
}

#[tonic::async_trait]
impl RouteService for Routes {
    async fn create_route(
        &self,
        request: Request<pb::CreateRouteRequest>,
    ) -> Answer<pb::CreateRouteResponse> {
        self.desk
            .create(request, convert::new_route, |mutation, new| {
                let answer = |route: &Route| pb::CreateRouteResponse {
                    route: Some(convert::route(route)),
                };
                self.app.create(mutation, new, answer)
            })
            .await
    }

    async fn get_route(
        &self,
        request: Request<pb::GetRouteRequest>,
    ) -> Answer<pb::GetRouteResponse> {
        self.desk
            .get(request, |route| pb::GetRouteResponse {
                route: Some(convert::route(route)),
            })
            .await
    }

    async fn list_routes(
        &self,
        request: Request<pb::ListRoutesRequest>,
    ) -> Answer<pb::ListRoutesResponse> {
        self.desk
            .list(
                request,
                |query, request: pb::ListRoutesRequest| async move {
                    let vpc = optional_id("vpc_id", &request.vpc_id)?;
                    self.app.list(query, vpc).await
                },
                |page| pb::ListRoutesResponse {
                    routes: page.items.iter().map(convert::route).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    async fn update_route(
        &self,
        request: Request<pb::UpdateRouteRequest>,
    ) -> Answer<pb::UpdateRouteResponse> {
        self.desk
            .change(request, "update", |mutation, route: Route, request| {
                let answer = |route: &Route| pb::UpdateRouteResponse {
                    route: Some(convert::route(route)),
                };
                let changes = convert::route_changes(request);
                self.app.update(mutation, route.id, changes, answer)
            })
            .await
    }

    async fn delete_route(
        &self,
        request: Request<pb::DeleteRouteRequest>,
    ) -> Answer<pb::DeleteRouteResponse> {
        self.desk
            .change(request, "delete", |mutation, route, _| {
                self.app.delete(mutation, route.id)
            })
            .await
    }
}
