//! Projects of an organization.

use clap::Subcommand;
use photon_api::iam::v1::{
    CreateProjectRequest, DeleteProjectRequest, GetProjectRequest, ListProjectsRequest,
    UpdateProjectRequest,
};

use super::{all_pages, confirm, present};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const MESSAGE: &str = "iam.v1.Project";
const COLUMNS: &[Column] = &[
    ("ORG", "org_id"),
    ("ID", "id"),
    ("NAME", "name"),
    ("DESCRIPTION", "description"),
    ("CREATED", "created_at"),
];

/// Projects.
#[derive(Subcommand)]
pub enum ProjectCommand {
    /// Make a project.
    Create {
        /// Its id, for ever: 2 to 39 of a-z, 0-9 and '-'.
        id: String,
        /// Its name for people. Default: the id.
        #[arg(long, default_value = "")]
        name: String,
        /// What it is.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Show one.
    Get {
        /// Its id.
        id: String,
    },
    /// List the organization's projects.
    List,
    /// Change its name or description.
    Update {
        /// Its id.
        id: String,
        /// New name.
        #[arg(long)]
        name: Option<String>,
        /// New description.
        #[arg(long)]
        description: Option<String>,
    },
    /// Remove one.
    Delete {
        /// Its id.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `photon project`
pub async fn run(
    command: ProjectCommand,
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    let mut admin = session.admin().await?;
    let org_id = session.org();
    match command {
        ProjectCommand::Create {
            id,
            name,
            description,
        } => {
            let request = CreateProjectRequest {
                org_id,
                id,
                name,
                description,
                request_id: String::new(),
            };
            let answer = admin.create_project(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.project, "project")?)
        }
        ProjectCommand::Get { id } => {
            let answer = admin
                .get_project(GetProjectRequest { org_id, id })
                .await?
                .into_inner();
            output.one(MESSAGE, &present(answer.project, "project")?)
        }
        ProjectCommand::List => {
            let request = ListProjectsRequest {
                org_id,
                ..Default::default()
            };
            let all = all_pages!(admin, list_projects, projects, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        ProjectCommand::Update {
            id,
            name,
            description,
        } => {
            let request = UpdateProjectRequest {
                org_id,
                id,
                name,
                description,
                ..Default::default()
            };
            let answer = admin.update_project(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.project, "project")?)
        }
        ProjectCommand::Delete { id, yes } => {
            confirm(yes, &format!("Remove project {id}?"))?;
            let request = DeleteProjectRequest {
                org_id,
                id: id.clone(),
                ..Default::default()
            };
            admin.delete_project(request).await?;
            output.done(&format!("Project {id} is gone."));
            Ok(())
        }
    }
}
