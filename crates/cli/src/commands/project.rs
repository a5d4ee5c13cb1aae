//! Projects of an organization.

use clap::Args;
use photon_api::iam::v1::{
    CreateProjectRequest, DeleteProjectRequest, GetProjectRequest, ListProjectsRequest, Project,
    UpdateProjectRequest,
};

use super::cascade::Cascade;
use super::org;
use crate::noun::{All, NoMore, Noun, USUAL, Whole, Words, plain_request};
use crate::output::Column;

/// Projects.
pub struct Projects;

impl Noun for Projects {
    type Resource = Project;
    type Get = GetProjectRequest;
    type Filter = All<ListProjectsRequest>;
    type Update = Update;
    type Delete = DeleteProjectRequest;

    const WORDS: Words = Words {
        noun: "project",
        create: "Make a project",
        list: "List the organization's projects",
        update: "Change its name or description",
        delete: "Remove one that is empty, or with --cascade all that is in it too",
        named: ("ID", "Its id"),
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ORG", "org_id"),
        ("ID", "id"),
        ("NAME", "name"),
        ("DESCRIPTION", "description"),
        ("AGE", "created_at"),
    ];

    fn question(project: &Project) -> String {
        format!("Remove project {}?", project.id)
    }
}

impl Whole for Projects {
    type New = New;
    type Actions = NoMore;
    type Removal = Cascade<Self>;
}

/// A project to make.
#[derive(Args)]
pub struct New {
    #[command(flatten)]
    new: org::NewPlace,
}

plain_request! {
    New as CreateProjectRequest, |this| {
        id: this.new.id,
        name: this.new.name,
        description: this.new.description,
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    changes: org::PlaceChanges,
}

plain_request! {
    Update as UpdateProjectRequest, |this| {
        name: this.changes.name,
        description: this.changes.description,
    }
}
