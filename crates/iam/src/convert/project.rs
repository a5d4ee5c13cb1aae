use photon_api::iam::v1 as api;
use photon_resource::{Error, OrgId, validate_description};

use super::{check_display, display_name};
use crate::model::{NewProject, Project, ProjectChanges};

impl From<&Project> for api::Project {
    fn from(project: &Project) -> Self {
        Self {
            id: project.id.to_string(),
            org_id: project.org_id.to_string(),
            name: project.name.clone(),
            description: project.description.clone(),
            created_at: Some(project.created_at.into()),
            updated_at: Some(project.updated_at.into()),
            revision: project.revision,
        }
    }
}

/// Errors: `InvalidArgument`.
pub fn new_project(
    org_id: OrgId,
    request: &api::CreateProjectRequest,
) -> Result<NewProject, Error> {
    let id = request.id.parse()?;
    let name = display_name(&request.name, &request.id)?;
    validate_description(&request.description)?;
    Ok(NewProject {
        org_id,
        id,
        name,
        description: request.description.clone(),
    })
}

/// Errors: `InvalidArgument`.
pub fn project_changes(request: &api::UpdateProjectRequest) -> Result<ProjectChanges, Error> {
    check_display(request.name.as_ref(), request.description.as_ref())?;
    Ok(ProjectChanges {
        name: request.name.clone(),
        description: request.description.clone(),
        expected_revision: request.expected_revision,
    })
}
