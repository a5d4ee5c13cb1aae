//! What the guest of a VM is told of itself, on the command line.

use clap::{Args, ValueEnum};
use photon_api::plasmavmc::v1::{HttpTokens, MetadataEndpoint, MetadataOptions};

/// How a guest is told what it is, at http://169.254.169.254.
#[derive(Args)]
pub struct Metadata {
    /// Whether the guest must show a token for what it asks of itself at 169.254.169.254. `optional` is for programs that know
    /// no tokens: whoever has a program in the guest ask for a URL can then read its user data. Default for a new VM: required.
    #[arg(long, value_enum, value_name = "WHETHER")]
    metadata_tokens: Option<Tokens>,
    /// How many hops such a token goes: more than 1 lets containers in the guest have it. Default for a new VM: 1.
    #[arg(long, value_name = "HOPS")]
    metadata_hops: Option<u32>,
}

/// Whether a guest must show a token.
#[derive(Clone, Copy, ValueEnum)]
pub enum Tokens {
    /// It must.
    Required,
    /// It need not.
    Optional,
}

impl Metadata {
    /// What is said; `None`: nothing. `endpoint` is whether it is told at all.
    pub fn options(self, endpoint: MetadataEndpoint) -> Option<MetadataOptions> {
        let tokens = self
            .metadata_tokens
            .map_or(HttpTokens::Unspecified, |it| match it {
                Tokens::Required => HttpTokens::Required,
                Tokens::Optional => HttpTokens::Optional,
            });
        let options = MetadataOptions {
            endpoint: endpoint.into(),
            http_tokens: tokens.into(),
            hop_limit: self.metadata_hops.unwrap_or_default(),
        };
        (options != MetadataOptions::default()).then_some(options)
    }
}
