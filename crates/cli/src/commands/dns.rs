//! Zones and their record sets.

use clap::{Args, Subcommand, ValueEnum};
use photon_api::flashdns::v1::{
    CreateRecordSetRequest, CreateZoneRequest, DeleteRecordSetRequest, DeleteZoneRequest,
    GetRecordSetRequest, GetZoneRequest, Labels, ListRecordSetsRequest, ListZonesRequest,
    RecordSet, RecordType, RecordValues, ResolveRequest, UpdateRecordSetRequest, UpdateZoneRequest,
    VpcIds, Zone,
};
use photon_client::call::Call;
use serde_json::Value;

use super::vpc::Vpcs;
use super::{ChosenLabels, NewLabels, OtherLabels, replaced};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{
    Desk, Flags, NoMore, Noun, Removal, USUAL, Verbs, Whole, Words, name_ids, plain_request,
};
use crate::output::Column;

/// Names of a project's own.
#[derive(Subcommand)]
pub enum DnsCommand {
    /// Zones: domains that guests of VPCs are answered from.
    #[command(subcommand)]
    Zone(Verbs<Zones>),
    /// Record sets of a zone: the records of one name and type.
    #[command(subcommand)]
    Record(Verbs<RecordSets>),
    /// Show what the guests of a VPC are answered.
    Resolve(Asked),
}

/// What guests would ask.
#[derive(Args)]
pub struct Asked {
    /// The name, for example web-1.shop.acme.cloud.internal.
    name: String,
    /// VPC (name or id) of the guests.
    #[arg(long, add = names::<Vpcs>())]
    vpc: String,
    /// What is asked for of it. Default: A.
    #[arg(
        long = "type",
        value_enum,
        ignore_case = true,
        default_value = "A",
        hide_default_value = true
    )]
    kind: Kind,
}

/// Carries one out.
pub async fn run(command: DnsCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        DnsCommand::Zone(verb) => desk.run(verb).await,
        DnsCommand::Record(verb) => desk.run(verb).await,
        DnsCommand::Resolve(asked) => {
            let request = ResolveRequest {
                name: asked.name,
                vpc_id: asked.vpc,
                r#type: RecordType::from(asked.kind).into(),
                ..Default::default()
            };
            let request = request.within(&desk.session.org, &desk.session.project);
            let answer = desk.session.call(request).await?;
            desk.output.message("flashdns.v1.ResolveResponse", &answer)
        }
    }
}

/// Zones.
pub struct Zones;

impl Noun for Zones {
    type Resource = Zone;
    type Get = GetZoneRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeleteZoneRequest;

    const WORDS: Words = Words {
        noun: "zone",
        create: "Make a zone",
        update: "Change VPCs, TTL, description or labels",
        delete: "Remove one that has no record sets any more",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("VPCS", "vpc_ids"),
        ("TTL", "default_ttl"),
        ("LABELS", "labels"),
        ("AGE", "created_at"),
    ];
}

impl Whole for Zones {
    type New = New;
    type Actions = NoMore;
    type Removal = Removal<Self>;
}

/// A zone to make.
#[derive(Args)]
pub struct New {
    /// The domain, for example shop.example.
    name: String,
    /// VPC (name or id) whose guests are answered from it; can be repeated.
    #[arg(long = "vpc", add = names::<Vpcs>())]
    vpcs: Vec<String>,
    /// How long records are remembered that do not say, in seconds. Default: 60.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    ttl: u32,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

plain_request! {
    New as CreateZoneRequest, |this| {
        name: this.name,
        vpc_ids: this.vpcs,
        default_ttl: this.ttl,
        description: this.description,
        labels: this.labels.map(),
    }
}

/// Which zones.
#[derive(Args)]
pub struct Filter {
    #[command(flatten)]
    labels: ChosenLabels,
}

plain_request! {
    Filter as ListZonesRequest, |this| {
        labels: this.labels.map(),
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    /// VPC (name or id) whose guests are answered from it; replaces all; can be repeated.
    #[arg(long = "vpc", add = names::<Vpcs>())]
    vpcs: Vec<String>,
    /// Take it out of all VPCs.
    #[arg(long, conflicts_with = "vpcs")]
    no_vpc: bool,
    /// How long records are remembered that do not say, in seconds.
    #[arg(long)]
    ttl: Option<u32>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    labels: OtherLabels,
}

plain_request! {
    Update as UpdateZoneRequest, |this| {
        vpc_ids: replaced(this.vpcs, this.no_vpc).map(|ids| VpcIds { ids }),
        default_ttl: this.ttl,
        description: this.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}

/// Record sets.
pub struct RecordSets;

impl Noun for RecordSets {
    type Resource = RecordSet;
    type Get = GetRecordSetRequest;
    type Filter = OfZone;
    type Update = OtherRecords;
    type Delete = DeleteRecordSetRequest;

    const WORDS: Words = Words {
        noun: "record set",
        create: "Make a record set",
        update: "Change values, TTL, description or labels",
        named: ("ID", "Id, which `list` shows"),
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("ZONE", "zone_id"),
        ("NAME", "name"),
        ("TYPE", "type"),
        ("TTL", "ttl"),
        ("VALUES", "values"),
        ("AGE", "created_at"),
    ];

    async fn dress(desk: &Desk<'_>, rows: &mut [Value]) {
        name_ids(rows, "zone_id", &desk.names::<ListZonesRequest>().await);
    }
}

impl Whole for RecordSets {
    type New = NewRecords;
    type Actions = NoMore;
    type Removal = Removal<Self>;
}

/// A record set to make.
#[derive(Args)]
pub struct NewRecords {
    /// Zone (name or id).
    #[arg(add = names::<Zones>())]
    zone: String,
    /// The name below the zone's: `www`; `@` is the zone's own, `*` all that are not there.
    name: String,
    /// What the records say.
    #[arg(value_enum, ignore_case = true)]
    kind: Kind,
    /// What each says: `10.0.1.10`, `web-1.shop.example`, `10 mail.shop.example`.
    #[arg(required = true)]
    values: Vec<String>,
    /// How long they are remembered, in seconds. Default: the zone's.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    ttl: u32,
    /// What they are for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

plain_request! {
    NewRecords as CreateRecordSetRequest, |this| {
        zone_id: this.zone,
        name: this.name,
        r#type: RecordType::from(this.kind).into(),
        values: this.values,
        ttl: this.ttl,
        description: this.description,
        labels: this.labels.map(),
    }
}

/// A type of records.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Another name for this one.
    Cname,
    /// Mail servers: preference and name.
    Mx,
    /// Text.
    Txt,
    /// Where a service is: priority, weight, port and name.
    Srv,
    /// Who may sign certificates: flags, tag and value.
    Caa,
    /// The name of an address.
    Ptr,
}

impl From<Kind> for RecordType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::A => Self::A,
            Kind::Aaaa => Self::Aaaa,
            Kind::Cname => Self::Cname,
            Kind::Mx => Self::Mx,
            Kind::Txt => Self::Txt,
            Kind::Srv => Self::Srv,
            Kind::Caa => Self::Caa,
            Kind::Ptr => Self::Ptr,
        }
    }
}

/// Which record sets.
#[derive(Args)]
pub struct OfZone {
    /// Only of this zone (name or id).
    #[arg(long, add = names::<Zones>())]
    zone: Option<String>,
}

impl Flags for OfZone {
    type Request = ListRecordSetsRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<ListRecordSetsRequest, Failure> {
        let mut request = ListRecordSetsRequest::default();
        if let Some(name) = self.zone {
            request.zone_id = desk.find::<GetZoneRequest>("zone", &name).await?.id;
        }
        Ok(request)
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct OtherRecords {
    /// What one of them says; replaces all; can be repeated.
    #[arg(long = "value")]
    values: Vec<String>,
    /// How long they are remembered, in seconds; 0: the zone's.
    #[arg(long)]
    ttl: Option<u32>,
    /// What they are for.
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    labels: OtherLabels,
}

plain_request! {
    OtherRecords as UpdateRecordSetRequest, |this| {
        values: replaced(this.values, false).map(|values| RecordValues { values }),
        ttl: this.ttl,
        description: this.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}
