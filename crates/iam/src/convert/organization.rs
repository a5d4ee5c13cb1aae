use photon_api::iam::v1 as api;
use photon_resource::{Error, validate_description};

use super::{check_display, display_name};
use crate::model::{NewOrganization, Organization, OrganizationChanges};

impl From<&Organization> for api::Organization {
    fn from(organization: &Organization) -> Self {
        Self {
            id: organization.id.to_string(),
            name: organization.name.clone(),
            description: organization.description.clone(),
            created_at: Some(organization.created_at.into()),
            updated_at: Some(organization.updated_at.into()),
            revision: organization.revision,
        }
    }
}

/// Errors: `InvalidArgument`.
pub fn new_organization(
    request: &api::CreateOrganizationRequest,
) -> Result<NewOrganization, Error> {
    let id = request.id.parse()?;
    let name = display_name(&request.name, &request.id)?;
    validate_description(&request.description)?;
    Ok(NewOrganization {
        id,
        name,
        description: request.description.clone(),
    })
}

/// Errors: `InvalidArgument`.
pub fn organization_changes(
    request: &api::UpdateOrganizationRequest,
) -> Result<OrganizationChanges, Error> {
    check_display(request.name.as_ref(), request.description.as_ref())?;
    Ok(OrganizationChanges {
        name: request.name.clone(),
        description: request.description.clone(),
        expected_revision: request.expected_revision,
    })
}
