//! External networks.

use clap::Args;
use photon_api::prismnet::v1::{
    AddressRange, AddressRanges, CreateExternalNetworkRequest, DeleteExternalNetworkRequest,
    ExternalNetwork, GetExternalNetworkRequest, Labels, ListExternalNetworksRequest, OrgIds,
    UpdateExternalNetworkRequest,
};
use serde_json::Value;

use super::{ChosenLabels, NewLabels, OtherLabels, Renaming, replaced};
use crate::noun::{Desk, NoMore, Noun, Removal, USUAL, Whole, Words, plain_request};
use crate::output::Column;

/// Networks beside the cloud.
pub struct ExternalNetworks;

impl Noun for ExternalNetworks {
    type Resource = ExternalNetwork;
    type Get = GetExternalNetworkRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeleteExternalNetworkRequest;

    const WORDS: Words = Words {
        noun: "external network",
        create: "Make an external network (operators)",
        list: "List those that are offered to the organization, for operators all",
        update: "Change name, description, pools, organizations or labels (operators)",
        delete: "Remove one of which nobody has an address any more (operators)",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("CIDR", "cidr"),
        ("GATEWAY", "gateway"),
        ("POOLS", "pools"),
        ("LABELS", "labels"),
        ("AGE", "created_at"),
    ];

    async fn dress(_: &Desk<'_>, rows: &mut [Value]) {
        for row in rows {
            let pools = row["pools"].as_array().into_iter().flatten();
            let pools = pools.map(
                |pool| match (pool["first"].as_str(), pool["last"].as_str()) {
                    (Some(first), Some(last)) if first == last => first.to_owned(),
                    (first, last) => {
                        format!("{}-{}", first.unwrap_or_default(), last.unwrap_or_default())
                    }
                },
            );
            row["pools"] = pools.collect::<Vec<_>>().join(", ").into();
        }
    }

    fn question(network: &ExternalNetwork) -> String {
        format!(
            "Remove external network {} ({})?",
            network.name, network.cidr
        )
    }
}

impl Whole for ExternalNetworks {
    type New = New;
    type Actions = NoMore;
    type Removal = Removal<Self>;
}

/// Reads `203.0.113.100-203.0.113.199`, or one address. What the addresses are is the server's to judge.
fn range(text: &str) -> Result<AddressRange, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    if first.trim().is_empty() || last.trim().is_empty() {
        return Err("expected FIRST-LAST, such as 203.0.113.100-203.0.113.199".to_owned());
    }
    Ok(AddressRange {
        first: first.trim().to_owned(),
        last: last.trim().to_owned(),
    })
}

/// An external network to make.
#[derive(Args)]
pub struct New {
    /// Its name, unique in the cloud: hosts with an interface in it know it by this.
    name: String,
    /// Its addresses, for example 203.0.113.0/24.
    #[arg(long)]
    cidr: String,
    /// Its router. Default: the first host address.
    #[arg(long, default_value = "", hide_default_value = true)]
    gateway: String,
    /// Addresses that the cloud may give out, FIRST-LAST; can be repeated.
    #[arg(long = "pool", value_name = "FIRST-LAST", value_parser = range, required = true)]
    pools: Vec<AddressRange>,
    /// Organization that it is offered to; can be repeated. Default: all.
    #[arg(long = "offer-to", value_name = "ORG")]
    org_ids: Vec<String>,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

plain_request! {
    New as CreateExternalNetworkRequest, |this| {
        name: this.name,
        cidr: this.cidr,
        gateway: this.gateway,
        pools: this.pools,
        org_ids: this.org_ids,
        description: this.description,
        labels: this.labels.map(),
    }
}

/// Which external networks.
#[derive(Args)]
pub struct Filter {
    #[command(flatten)]
    labels: ChosenLabels,
}

plain_request! {
    Filter as ListExternalNetworksRequest, |this| {
        labels: this.labels.map(),
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    meta: Renaming,
    /// Addresses that the cloud may give out, FIRST-LAST; replaces all; can be repeated.
    #[arg(long = "pool", value_name = "FIRST-LAST", value_parser = range)]
    pools: Vec<AddressRange>,
    /// Organization that it is offered to; replaces all; can be repeated.
    #[arg(long = "offer-to", value_name = "ORG")]
    org_ids: Vec<String>,
    /// Offer it to all organizations.
    #[arg(long, conflicts_with = "org_ids")]
    offer_to_all: bool,
    #[command(flatten)]
    labels: OtherLabels,
}

plain_request! {
    Update as UpdateExternalNetworkRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        pools: (!this.pools.is_empty()).then_some(AddressRanges { ranges: this.pools }),
        org_ids: replaced(this.org_ids, this.offer_to_all).map(|ids| OrgIds { ids }),
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_addresses_or_one() {
        let read = |text| range(text).map(|range| (range.first, range.last));
        let both = |first: &str, last: &str| Ok((first.to_owned(), last.to_owned()));
        assert_eq!(read("10.0.0.1-10.0.0.9"), both("10.0.0.1", "10.0.0.9"));
        assert_eq!(read("10.0.0.1"), both("10.0.0.1", "10.0.0.1"));
        assert!(read("10.0.0.1-").is_err());
    }
}
