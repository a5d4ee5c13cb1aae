//! Where a cloud's servers are, as its IAM tells: who knows one URL, knows all.

use photon_api::components::component;
use photon_api::iam::v1::{ListEndpointsRequest, ListEndpointsResponse};
use tonic::Code;

use crate::channels::Channels;
use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::session::Session;

impl Endpoints {
    /// What IAM tells of the others. Empty, where it tells nothing: it is of a version before there was a directory, or
    /// nobody has published anything.
    ///
    /// # Errors
    /// When IAM cannot be reached at this URL, or refuses.
    pub async fn told_by(iam: &str, ca_file: Option<std::path::PathBuf>) -> Result<Self, Error> {
        let endpoints: Self = [("iam", iam)].into_iter().collect();
        let channels = Channels::at(endpoints.trusting(ca_file))?;
        let asked = Session::anonymous(&channels);
        match asked.call(ListEndpointsRequest {}).await {
            Ok(answer) => Ok(believed(iam, answer)),
            Err(error) if error.code() == Some(Code::Unimplemented) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }
}

/// The URLs of components that are known here. What is told over TLS must be TLS: a token is sent there.
fn believed(iam: &str, answer: ListEndpointsResponse) -> Endpoints {
    let secure = |url: &str| !iam.starts_with("https://") || url.starts_with("https://");
    answer
        .endpoints
        .into_iter()
        .filter(|told| component(&told.component).is_some() && secure(&told.url))
        .map(|told| (told.component, told.url))
        .collect()
}

#[cfg(test)]
mod tests {
    use photon_api::iam::v1::ComponentEndpoint;

    use super::*;

    #[test]
    fn only_what_is_known_and_as_safe_is_believed() {
        let told = |component: &str, url: &str| ComponentEndpoint {
            component: component.into(),
            url: url.into(),
        };
        let answer = ListEndpointsResponse {
            endpoints: vec![
                told("prismnet", "https://rack.example:1"),
                told("plasmavmc", "http://elsewhere.example"),
                told("a-later-one", "https://rack.example:2"),
            ],
        };
        let believed = believed("https://rack.example", answer);
        assert_eq!(believed.urls.len(), 1, "{believed:?}");
        assert_eq!(believed.url("prismnet"), Some("https://rack.example:1"));
    }
}
