use std::time::{Duration, SystemTime, UNIX_EPOCH};

use photon_api::iam::v1 as api;
use photon_resource::{Error, Scope};

use crate::app::binding::NewBinding;
use crate::model::{Binding, BindingChanges, Principal, Role};

impl From<&Binding> for api::Binding {
    fn from(binding: &Binding) -> Self {
        Self {
            id: binding.id.to_string(),
            principal_id: binding.principal_id.to_string(),
            role_id: binding.role_id.clone(),
            scope: binding.scope.to_string(),
            created_at: Some(binding.created_at.into()),
            expires_at: binding.expires_at.map(Into::into),
            revision: binding.revision,
        }
    }
}

/// Errors: `InvalidArgument`.
pub fn new_binding(
    who: Principal,
    what: Role,
    scope: Scope,
    request: &api::CreateBindingRequest,
) -> Result<NewBinding, Error> {
    let endless = NewBinding::new(who, what, scope)?;
    let end = request.expires_at.as_ref().map(end).transpose()?;
    Ok(endless.until(end))
}

/// Errors: `InvalidArgument`.
pub fn binding_changes(request: &api::UpdateBindingRequest) -> Result<BindingChanges, Error> {
    let expires_at = match &request.expires_at {
        None => None,
        Some(end) if end.seconds == 0 && end.nanos == 0 => Some(None),
        Some(given) => Some(Some(end(given)?)),
    };
    Ok(BindingChanges {
        expires_at,
        expected_revision: request.expected_revision,
    })
}

/// An end in the future.
fn end(wire: &prost_types::Timestamp) -> Result<SystemTime, Error> {
    let end = time("expires_at", wire)?;
    if end <= SystemTime::now() {
        let expected = "a time in the future, or none";
        return Err(Error::invalid("expires_at", wire, expected));
    }
    Ok(end)
}

/// A point in time that clocks can show.
fn time(field: &str, wire: &prost_types::Timestamp) -> Result<SystemTime, Error> {
    // 9999-12-31T23:59:59Z, the last that RFC 3339 can write.
    const LAST: i64 = 253_402_300_799;
    let wrong = || {
        let expected = "a time between 1970 and 9999";
        Error::invalid(field, format!("{} s since 1970", wire.seconds), expected)
    };
    if !(0..=LAST).contains(&wire.seconds) {
        return Err(wrong());
    }
    let seconds = u64::try_from(wire.seconds).map_err(|_| wrong())?;
    let nanos = u32::try_from(wire.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    let since = Duration::new(seconds, nanos.ok_or_else(wrong)?);
    // Records keep milliseconds.
    Ok(UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).map_err(|_| wrong())?))
}
