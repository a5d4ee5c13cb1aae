//! Records are read by programs of later versions: what is stored must be known, and what is not understood refused.

use flaredb::Record;
use proptest::prelude::*;

use super::*;
use crate::model::Role;

fn role_json(permission: &str) -> Vec<u8> {
    format!(
        r#"{{"v":1,"d":{{"id":"r","org_id":"acme","name":"starter","description":"","permissions":[{permission}],"created_ms":1,"updated_ms":2,"revision":3}}}}"#
    )
    .into_bytes()
}

fn read_role(bytes: &[u8]) -> Result<Role, Error> {
    flaredb::decode::<role::RoleRecord>("role/r", bytes)?.try_into()
}

#[test]
fn a_role_reads_as_it_was_stored() {
    let role = read_role(&role_json(
        r#"{"action":"compute:*","resource":"org/acme/*","condition":"resource.owner == principal.id"}"#,
    ))
    .unwrap();
    let stored = flaredb::encode("role/r", &role::RoleRecord::from(&role)).unwrap();
    assert_eq!(read_role(&stored).unwrap(), role);
}

#[test]
fn a_role_that_is_not_understood_is_refused() {
    for permission in [
        r#"{"action":"compute:*","resource":"","condition":null,"unless":"context.mfa"}"#,
        r#"{"action":"compute","resource":"","condition":null}"#,
        r#"{"action":"compute:*","resource":"acme","condition":null}"#,
        r#"{"action":"compute:*","resource":"","condition":"resource.colour == 1"}"#,
        r#"{"action":"compute:*"}"#,
    ] {
        assert!(read_role(&role_json(permission)).is_err(), "{permission}");
    }
}

#[test]
fn a_name_that_would_be_refused_today_is_read_as_it_was_stored() {
    let stored = br#"{"v":1,"d":{"id":"acme","name":"Ac\u202eme","description":"a\u200bb","created_ms":1,"updated_ms":2,"revision":3}}"#;
    let record = flaredb::decode::<organization::OrganizationRecord>("organization/acme", stored);
    let read: crate::model::Organization = record.unwrap().into();
    crate::model::validate_display_name(&read.name).unwrap_err();
    assert_eq!(
        (read.name.as_str(), read.description.as_str()),
        ("Ac\u{202e}me", "a\u{200b}b")
    );
}

#[test]
fn a_session_reads_as_it_was_stored() {
    let bytes = |byte: u8| serde_json::to_string(&[byte; 32]).unwrap();
    let id = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";
    let stored = format!(
        r#"{{"v":1,"d":{{"id":"{id}","principal_id":"{id}","home":"acme","org_id":"acme","project_id":"web","api_key":null,"generation":1,"token_seconds":900,"family_sha256":{},"secret_sha256":{},"before":{{"secret_sha256":{},"salt":{},"used_ms":3}},"created_ms":1,"last_used_ms":3,"ends_ms":9,"source":"192.0.2.1","client":"photon"}}}}"#,
        bytes(1),
        bytes(2),
        bytes(3),
        bytes(4),
    );
    let record = flaredb::decode::<session::SessionRecord>("session/x", stored.as_bytes());
    let session: crate::model::Session = record.unwrap().into();
    assert_eq!(session.before.as_ref().unwrap().salt, [4; 32]);
    assert_eq!(session.place().to_string(), "org/acme/project/web");
    let again = flaredb::encode("session/x", &session::SessionRecord::from(&session)).unwrap();
    let again = flaredb::decode::<session::SessionRecord>("session/x", &again).unwrap();
    assert_eq!(crate::model::Session::from(again), session);
}

#[test]
fn every_record_is_of_version_1() {
    // Raising one means teaching `migrate` the step, and testing it with a record of the version before.
    assert_eq!(organization::OrganizationRecord::VERSION, 1);
    assert_eq!(principal::PrincipalRecord::VERSION, 1);
    assert_eq!(role::RoleRecord::VERSION, 1);
    assert_eq!(binding::BindingRecord::VERSION, 1);
    assert_eq!(signing_key::SigningKeyRecord::VERSION, 1);
    assert_eq!(session::SessionRecord::VERSION, 1);
}

proptest! {
    #[test]
    fn reading_a_damaged_record_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_role(&bytes);
        let _ = flaredb::decode::<binding::BindingRecord>("binding/x", &bytes);
        let _ = flaredb::decode::<principal::PrincipalRecord>("principal/x", &bytes);
        let _ = flaredb::decode::<session::SessionRecord>("session/x", &bytes);
        let _ = flaredb::decode::<signing_key::SigningKeyRecord>("signing-key/x", &bytes);
    }

    #[test]
    fn times_are_kept_to_the_millisecond(ms in 0u64..=253_402_300_799_999) {
        prop_assert_eq!(to_ms(from_ms(ms)), ms);
    }
}
