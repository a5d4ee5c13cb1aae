//! Organizations.

use clap::Args;
use photon_api::iam::v1::{
    CreateOrganizationRequest, DeleteOrganizationRequest, GetOrganizationRequest,
    ListOrganizationsRequest, Organization, UpdateOrganizationRequest,
};

use super::cascade::Cascade;
use crate::noun::{All, NoMore, Noun, USUAL, Whole, Words, plain_request};
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
    type Actions = NoMore;
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
