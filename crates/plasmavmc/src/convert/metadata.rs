//! How guests are told what they are.

use photon_api::plasmavmc::v1 as pb;
use photon_resource::Error;

use super::unknown;
use crate::model::{MetadataChanges, MetadataOptions};

/// What is said of them in `field`.
///
/// Errors: `InvalidArgument`.
pub(super) fn metadata(
    field: &str,
    given: Option<pb::MetadataOptions>,
) -> Result<MetadataChanges, Error> {
    let given = given.unwrap_or_default();
    let enabled = match pb::MetadataEndpoint::try_from(given.endpoint) {
        Ok(pb::MetadataEndpoint::Unspecified) => None,
        Ok(pb::MetadataEndpoint::Enabled) => Some(true),
        Ok(pb::MetadataEndpoint::Disabled) => Some(false),
        Err(_) => {
            let expected = "METADATA_ENDPOINT_ENABLED and METADATA_ENDPOINT_DISABLED";
            let field = format!("{field}.endpoint");
            return Err(unknown(&field, given.endpoint, expected));
        }
    };
    let tokens_required = match pb::HttpTokens::try_from(given.http_tokens) {
        Ok(pb::HttpTokens::Unspecified) => None,
        Ok(pb::HttpTokens::Required) => Some(true),
        Ok(pb::HttpTokens::Optional) => Some(false),
        Err(_) => {
            let expected = "HTTP_TOKENS_REQUIRED and HTTP_TOKENS_OPTIONAL";
            let field = format!("{field}.http_tokens");
            return Err(unknown(&field, given.http_tokens, expected));
        }
    };
    Ok(MetadataChanges {
        enabled,
        tokens_required,
        hop_limit: (given.hop_limit > 0).then_some(given.hop_limit),
    })
}

pub(super) fn metadata_to_wire(options: MetadataOptions) -> pb::MetadataOptions {
    let endpoint = match options.enabled {
        true => pb::MetadataEndpoint::Enabled,
        false => pb::MetadataEndpoint::Disabled,
    };
    let http_tokens = match options.tokens_required {
        true => pb::HttpTokens::Required,
        false => pb::HttpTokens::Optional,
    };
    pb::MetadataOptions {
        endpoint: endpoint.into(),
        http_tokens: http_tokens.into(),
        hop_limit: options.hop_limit,
    }
}
