//! Between the wire and the domain; the wire's types go no further. What can't be understood is refused here, with the
//! field that it is in.

mod binding;
mod credential;
mod organization;
mod principal;
mod project;
mod role;
mod session;
mod token;

pub use binding::{binding_changes, new_binding};
pub use credential::{new_api_key, new_s3_key};
pub use organization::{new_organization, organization_changes};
pub use principal::{
    new_password, new_principal, principal_changes, principal_kind, principal_kind_or_any,
};
pub use project::{new_project, project_changes};
pub use role::{new_role, role_changes};
pub use session::{new_session, refreshed, session};
pub use token::{credential, first_operator, issued, sign_in, wanted};

use photon_resource::{Error, validate_description};

use crate::model::validate_display_name;

/// The name that people read of a new thing: the one that was given, or the id.
fn display_name(name: &str, id: &str) -> Result<String, Error> {
    let display = if name.is_empty() { id } else { name };
    validate_display_name(display)?;
    Ok(display.to_owned())
}

/// What an update of a name that people read, and of a description, gives.
fn check_display(name: Option<&String>, description: Option<&String>) -> Result<(), Error> {
    if let Some(name) = name {
        validate_display_name(name)?;
    }
    description.map_or(Ok(()), |description| validate_description(description))
}
