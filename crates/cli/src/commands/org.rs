//! Organizations.

use clap::{Args, Subcommand, ValueEnum};
use photon_api::iam::v1::{
    CreateOrganizationRequest, DeleteOrganizationRequest, GetOrganizationRequest,
    ListOrganizationsRequest, Organization, UpdateOrganizationRequest,
};
use photon_api::prismnet::v1::{GetNetworkSettingsRequest, UpdateNetworkSettingsRequest};

use super::cascade::Cascade;
use super::present;
use crate::error::Failure;
use crate::noun::{Action, All, Changing, Desk, Noun, USUAL, Whole, Words, plain_request};
use crate::output::Column;

/// Organizations.
pub struct Orgs;

impl Noun for Orgs {
    type Resource = Organization;
    type Get = GetOrganizationRequest;
    type Filter = All<ListOrganizationsRequest>;
    type Update = PlaceChanges;
    type Delete = DeleteOrganizationRequest;

    const WORDS: Words = Words {
        noun: "organization",
        create: "Make an organization",
        list: "List all that you may see",
        update: "Change its name or description",
        delete: "Remove one that has no projects and no principals any more, or with --cascade those too",
        named: ("ID", "Its id"),
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("DESCRIPTION", "description"),
        ("AGE", "created_at"),
    ];

    fn question(org: &Organization) -> String {
        format!("Remove organization {}?", org.id)
    }
}

impl Whole for Orgs {
    type New = NewPlace;
    type Actions = OrgAction;
    type Removal = Cascade<Self>;
}

/// An organization or project to make.
#[derive(Args)]
pub struct NewPlace {
    /// Its id, forever: 2 to 39 of a-z, 0-9 and '-'.
    pub id: String,
    /// Its name for people. Default: the id.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub name: String,
    /// What it is.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub description: String,
}

/// What shall be otherwise of an organization or project.
#[derive(Args)]
pub struct PlaceChanges {
    /// New name.
    #[arg(long)]
    pub name: Option<String>,
    /// New description.
    #[arg(long)]
    pub description: Option<String>,
}

plain_request! {
    NewPlace as CreateOrganizationRequest, |this| {
        id: this.id,
        name: this.name,
        description: this.description,
    }
}

plain_request! {
    PlaceChanges as UpdateOrganizationRequest, |this| {
        name: this.name,
        description: this.description,
    }
}

/// What else an organization can say.
#[derive(Subcommand)]
pub enum OrgAction {
    /// Whether a project of the organization (--org) gets a VPC and a subnet, both called default, when its first VM needs
    /// them.
    DefaultNetworks(Changing<DefaultNetworks>),
}

/// What is said of default networks.
#[derive(Args)]
pub struct DefaultNetworks {
    /// Say it; without it, it is shown.
    #[arg(value_enum)]
    switch: Option<Switch>,
}

/// Whether something is so.
#[derive(Clone, Copy, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

impl Action for OrgAction {
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure> {
        let Self::DefaultNetworks(Changing { flags, once }) = self;
        let settings = match flags.switch {
            None => {
                let answer = desk.call(GetNetworkSettingsRequest::default()).await?;
                answer.settings
            }
            Some(switch) => {
                let request = UpdateNetworkSettingsRequest {
                    default_networks: Some(matches!(switch, Switch::On)),
                    ..Default::default()
                };
                desk.change(&once, request).await?.settings
            }
        };
        let settings = present(settings, "settings")?;
        desk.output
            .message("prismnet.v1.NetworkSettings", &settings)
    }
}
