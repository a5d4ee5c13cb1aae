//! Organizations.

use clap::Subcommand;
use photon_api::iam::v1::{
    CreateOrganizationRequest, DeleteOrganizationRequest, GetOrganizationRequest,
    ListOrganizationsRequest, UpdateOrganizationRequest,
};

use super::{all_pages, confirm, present};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const MESSAGE: &str = "iam.v1.Organization";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("DESCRIPTION", "description"),
    ("CREATED", "created_at"),
];

/// Organizations.
#[derive(Subcommand)]
pub enum OrgCommand {
    /// Make an organization.
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
    /// List all that you may see.
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
    /// Remove one that has no projects and no principals any more.
    Delete {
        /// Its id.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `photon org`
pub async fn run(command: OrgCommand, session: &Session, output: &Output) -> Result<(), Failure> {
    let mut admin = session.admin().await?;
    match command {
        OrgCommand::Create {
            id,
            name,
            description,
        } => {
            let request = CreateOrganizationRequest {
                id,
                name,
                description,
                request_id: String::new(),
            };
            let answer = admin.create_organization(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.organization, "organization")?)
        }
        OrgCommand::Get { id } => {
            let answer = admin
                .get_organization(GetOrganizationRequest { id })
                .await?
                .into_inner();
            output.one(MESSAGE, &present(answer.organization, "organization")?)
        }
        OrgCommand::List => {
            let all = all_pages!(
                admin,
                list_organizations,
                organizations,
                ListOrganizationsRequest::default()
            );
            output.many(MESSAGE, &all, COLUMNS)
        }
        OrgCommand::Update {
            id,
            name,
            description,
        } => {
            let request = UpdateOrganizationRequest {
                id,
                name,
                description,
                ..Default::default()
            };
            let answer = admin.update_organization(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.organization, "organization")?)
        }
        OrgCommand::Delete { id, yes } => {
            confirm(yes, &format!("Remove organization {id}?"))?;
            admin
                .delete_organization(DeleteOrganizationRequest {
                    id: id.clone(),
                    ..Default::default()
                })
                .await?;
            output.done(&format!("Organization {id} is gone."));
            Ok(())
        }
    }
}
