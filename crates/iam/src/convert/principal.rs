use photon_api::iam::v1 as api;
use photon_resource::{Error, OrgId, PrincipalKind, validate_description};

use crate::app::principal::NewPassword;
use crate::model::{NewPrincipal, Principal, PrincipalChanges, validate_principal_name};

impl From<&Principal> for api::Principal {
    fn from(principal: &Principal) -> Self {
        Self {
            id: principal.id.to_string(),
            org_id: principal
                .org_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            name: principal.name.clone(),
            kind: wire_kind(principal.kind) as i32,
            description: principal.description.clone(),
            disabled: principal.disabled,
            created_at: Some(principal.created_at.into()),
            updated_at: Some(principal.updated_at.into()),
            revision: principal.revision,
            node: principal.node.clone().unwrap_or_default(),
        }
    }
}

fn wire_kind(kind: PrincipalKind) -> api::PrincipalKind {
    match kind {
        PrincipalKind::User => api::PrincipalKind::User,
        PrincipalKind::ServiceAccount => api::PrincipalKind::ServiceAccount,
        PrincipalKind::Node => api::PrincipalKind::Node,
        PrincipalKind::Service => api::PrincipalKind::Service,
    }
}

/// The kind, or `None` for an unspecified one.
pub fn principal_kind_or_any(kind: i32) -> Result<Option<PrincipalKind>, Error> {
    match api::PrincipalKind::try_from(kind) {
        Ok(api::PrincipalKind::Unspecified) => Ok(None),
        Ok(api::PrincipalKind::User) => Ok(Some(PrincipalKind::User)),
        Ok(api::PrincipalKind::ServiceAccount) => Ok(Some(PrincipalKind::ServiceAccount)),
        Ok(api::PrincipalKind::Node) => Ok(Some(PrincipalKind::Node)),
        Ok(api::PrincipalKind::Service) => Ok(Some(PrincipalKind::Service)),
        Err(_) => Err(wrong_kind(kind)),
    }
}

/// The kind, which must be one.
pub fn principal_kind(kind: i32) -> Result<PrincipalKind, Error> {
    principal_kind_or_any(kind)?.ok_or_else(|| wrong_kind(kind))
}

fn wrong_kind(kind: i32) -> Error {
    Error::invalid(
        "kind",
        kind,
        "PRINCIPAL_KIND_USER, _SERVICE_ACCOUNT, _NODE or _SERVICE",
    )
}

/// Errors: `InvalidArgument`.
pub fn new_principal(
    org_id: Option<OrgId>,
    request: &api::CreatePrincipalRequest,
) -> Result<NewPrincipal, Error> {
    validate_principal_name(&request.name)?;
    validate_description(&request.description)?;
    let new = NewPrincipal {
        org_id,
        name: request.name.clone(),
        kind: principal_kind(request.kind)?,
        description: request.description.clone(),
        node: request.node.clone(),
        password: request.password.clone(),
    };
    new.validate()?;
    Ok(new)
}

/// Errors: `InvalidArgument`.
pub fn principal_changes(request: &api::UpdatePrincipalRequest) -> Result<PrincipalChanges, Error> {
    if let Some(name) = &request.name {
        validate_principal_name(name)?;
    }
    if let Some(description) = &request.description {
        validate_description(description)?;
    }
    Ok(PrincipalChanges {
        name: request.name.clone(),
        description: request.description.clone(),
        disabled: request.disabled,
        expected_revision: request.expected_revision,
    })
}

/// Errors: `InvalidArgument`, `FailedPrecondition`.
pub fn new_password(
    principal: &Principal,
    request: &api::SetPasswordRequest,
) -> Result<NewPassword, Error> {
    let (current, new) = (&request.current_password, &request.new_password);
    NewPassword::new(principal, current.clone(), new.clone())
}
