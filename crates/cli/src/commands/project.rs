//! Projects of an organization.

use clap::Args;
use photon_api::iam::v1::{
    CreateProjectRequest, DeleteProjectRequest, GetProjectRequest, ListProjectsRequest, Project,
    UpdateProjectRequest,
};

use super::org;
use crate::error::Failure;
use crate::noun::{All, Desk, Flags, NoMore, Noun, USUAL, Whole, Words};
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
        named: ("ID", "Its id"),
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ORG", "org_id"),
        ("ID", "id"),
        ("NAME", "name"),
        ("DESCRIPTION", "description"),
        ("CREATED", "created_at"),
    ];

    fn question(project: &Project) -> String {
        format!("Remove project {}?", project.id)
    }
}

impl Whole for Projects {
    type New = New;
    type Actions = NoMore;

    async fn act(action: NoMore, _: &Desk<'_>) -> Result<(), Failure> {
        match action {}
    }
}

/// A project to make.
#[derive(Args)]
pub struct New {
    #[command(flatten)]
    new: org::NewPlace,
}

impl Flags for New {
    type Request = CreateProjectRequest;

    async fn request(self, _: &Desk<'_>) -> Result<CreateProjectRequest, Failure> {
        Ok(CreateProjectRequest {
            id: self.new.id,
            name: self.new.name,
            description: self.new.description,
            ..Default::default()
        })
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    changes: org::PlaceChanges,
}

impl Flags for Update {
    type Request = UpdateProjectRequest;

    async fn request(self, _: &Desk<'_>) -> Result<UpdateProjectRequest, Failure> {
        Ok(UpdateProjectRequest {
            name: self.changes.name,
            description: self.changes.description,
            ..Default::default()
        })
    }
}
