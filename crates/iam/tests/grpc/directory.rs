//! Where the cloud's APIs are: what clients are told who know IAM alone.

use photon_api::iam::v1::ListEndpointsRequest;
use photon_api::iam::v1::directory_service_client::DirectoryServiceClient;
use tonic::transport::Endpoint;

use crate::fixture::Iam;

#[tokio::test]
async fn who_has_no_token_yet_learns_what_the_operators_published() {
    let published = [
        ("iam", "https://cloud.example:50080"),
        ("plasmavmc", "https://cloud.example:50082"),
        ("prismnet", "https://cloud.example:50081"),
    ];
    let owned = published.map(|(component, url)| (component.to_owned(), url.to_owned()));
    let iam = Iam::start_secured(
        |_, settings| settings.component.public_endpoints = owned.into(),
        |_, address| {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            endpoint.connect_lazy()
        },
    )
    .await;
    let mut directory = DirectoryServiceClient::new(iam.channel.clone());
    let answer = directory.list_endpoints(ListEndpointsRequest {}).await;
    let endpoints = answer.unwrap().into_inner().endpoints;
    let endpoints: Vec<(&str, &str)> = endpoints
        .iter()
        .map(|it| (it.component.as_str(), it.url.as_str()))
        .collect();
    assert_eq!(endpoints, published);
}

#[tokio::test]
async fn what_nobody_published_is_not_told() {
    let iam = Iam::start().await;
    let mut directory = DirectoryServiceClient::new(iam.channel.clone());
    let answer = directory.list_endpoints(ListEndpointsRequest {}).await;
    assert_eq!(answer.unwrap().into_inner().endpoints, []);
}
