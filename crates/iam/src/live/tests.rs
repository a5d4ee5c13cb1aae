use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use flaredb::{Committed, Op};
use photon_resource::{BindingId, PrincipalKind};

use super::*;
use crate::app::signing_key;
use crate::policy::Question;

async fn start(db: &Db) -> Arc<Live> {
    let dir = tempfile::tempdir().unwrap();
    let server_key = ServerKey::open(&dir.path().join("server-key"), true).unwrap();
    signing_key::ensure(db, &server_key, Duration::from_secs(3600))
        .await
        .unwrap();
    Live::start(db.clone(), server_key, CancellationToken::new())
        .await
        .unwrap()
}

/// A principal with `role` everywhere; its id.
async fn principal_with(db: &Db, role: &str) -> PrincipalId {
    let principal = Principal {
        id: PrincipalId::generate(),
        org_id: None,
        name: "alice".into(),
        kind: PrincipalKind::User,
        description: String::new(),
        disabled: false,
        node: None,
        password_hash: None,
        token_generation: 0,
        created_at: UNIX_EPOCH,
        updated_at: UNIX_EPOCH,
        revision: 1,
    };
    let binding = Binding {
        id: BindingId::generate(),
        principal_id: principal.id,
        role_id: role.into(),
        scope: Scope::System,
        created_at: UNIX_EPOCH,
        expires_at: None,
        revision: 1,
    };
    let mut tx = db.begin();
    store::principal::principal_create(&mut tx, &principal).unwrap();
    store::binding::binding_create(&mut tx, &binding).unwrap();
    assert!(matches!(tx.commit().await.unwrap(), Committed::Done(_)));
    principal.id
}

async fn put(db: &Db, key: &str, value: &str) {
    let op = Op::Put {
        key: key.into(),
        value: value.into(),
        lease: None,
    };
    assert!(matches!(
        db.commit(vec![], vec![op]).await.unwrap(),
        Committed::Done(_)
    ));
}

async fn may(live: &Live, id: PrincipalId) -> bool {
    let known = live.known(id).await.unwrap().unwrap();
    let question = Question {
        action: &"compute:images:get".parse().unwrap(),
        resource: &"org/acme/images/x".parse().unwrap(),
        attributes: &BTreeMap::new(),
        now: SystemTime::now(),
    };
    known.rights.decide(&question).allowed
}

fn role(permission: &str) -> String {
    format!(
        r#"{{"v":1,"d":{{"id":"r","org_id":null,"name":"r","description":"","permissions":[{permission}],"created_ms":1,"updated_ms":2,"revision":3}}}}"#
    )
}

const PLAIN: &str = r#"{"action":"*","resource":"*","condition":null}"#;

#[tokio::test]
async fn a_role_that_is_not_understood_permits_nothing_and_stops_nothing_else() {
    let db = Db::memory();
    put(&db, "role/r", &role(PLAIN)).await;
    let live = start(&db).await;
    let alice = principal_with(&db, "r").await;
    live.settled().await.unwrap();
    assert!(may(&live, alice).await);
    for damaged in [
        role(r#"{"action":"*","resource":"*","condition":null,"unless":"x"}"#),
        role(r#"{"action":"**","resource":"*","condition":null}"#),
        role(PLAIN).replace(r#""v":1"#, r#""v":2"#),
        "not a record".to_owned(),
    ] {
        put(&db, "role/r", &damaged).await;
        live.settled().await.unwrap();
        assert!(!may(&live, alice).await, "{damaged}");
        let operator = principal_with(&db, "SystemAdmin").await;
        live.settled().await.unwrap();
        assert!(may(&live, operator).await, "others go on");
    }
}

#[tokio::test]
async fn what_others_write_to_the_store_is_followed() {
    let db = Db::memory();
    let live = start(&db).await;
    let alice = principal_with(&db, "r").await;
    live.settled().await.unwrap();
    assert!(!may(&live, alice).await, "there is no such role");
    put(&db, "role/r", &role(PLAIN)).await;
    live.settled().await.unwrap();
    assert!(may(&live, alice).await);
    let delete = Op::Delete {
        key: "role/r".into(),
    };
    assert!(matches!(
        db.commit(vec![], vec![delete]).await.unwrap(),
        Committed::Done(_)
    ));
    live.settled().await.unwrap();
    assert!(!may(&live, alice).await);

    let scope: Scope = "org/acme".parse().unwrap();
    assert!(!live.exists(&scope).await.unwrap());
    let acme = r#"{"v":1,"d":{"id":"acme","name":"acme","description":"","created_ms":1,"updated_ms":1,"revision":1}}"#;
    put(&db, "organization/acme", acme).await;
    live.settled().await.unwrap();
    assert!(live.exists(&scope).await.unwrap());
}

#[tokio::test]
async fn a_change_of_a_role_is_no_work_for_those_who_do_not_have_it() {
    let db = Db::memory();
    put(&db, "role/r", &role(PLAIN)).await;
    let live = start(&db).await;
    let (alice, bob) = (
        principal_with(&db, "r").await,
        principal_with(&db, "SystemAdmin").await,
    );
    live.settled().await.unwrap();
    let known = async |id| live.known(id).await.unwrap().unwrap();
    let before = (known(alice).await, known(bob).await);
    put(&db, "role/r", &role("")).await;
    live.settled().await.unwrap();
    assert!(!Arc::ptr_eq(&before.0, &known(alice).await));
    assert!(Arc::ptr_eq(&before.1, &known(bob).await));
}

/// Where others write too, the store's latest revision is hardly ever one of a change that is followed.
#[tokio::test]
async fn changes_settle_in_the_midst_of_others_commits() {
    let options = flaredb::Options::default();
    let db = flaredb::crowded::crowded(&options).await.unwrap();
    let live = start(&db).await;
    let alice = principal_with(&db, "SystemAdmin").await;
    live.settled().await.unwrap();
    assert!(may(&live, alice).await);
    put(&db, &format!("principal/{alice}"), "not a record").await;
    live.settled().await.unwrap();
    assert!(live.known(alice).await.is_err());
}

#[tokio::test]
async fn a_damaged_principal_or_binding_is_an_error_never_a_permission() {
    let db = Db::memory();
    let live = start(&db).await;
    let alice = principal_with(&db, "SystemAdmin").await;
    live.settled().await.unwrap();
    assert!(may(&live, alice).await);
    put(&db, &format!("principal/{alice}"), "not a record").await;
    live.settled().await.unwrap();
    assert!(live.known(alice).await.is_err());
}

#[tokio::test]
async fn without_its_watch_it_verifies_nothing() {
    let db = Db::memory();
    let live = start(&db).await;
    live.keyring().unwrap();
    live.write().following = false;
    assert!(matches!(live.keyring(), Err(Error::Unavailable(_))));
    assert!(matches!(live.verified("x"), Err(Error::Unavailable(_))));
}

#[test]
fn every_key_that_a_principals_rights_depend_on_leads_to_it() {
    for key in ["principal/p", "binding-of/p/b", "api-key-of/p/k"] {
        assert_eq!(principal_of(key), Some("p"), "{key}");
    }
    for key in [
        "principal-name/acme/p",
        "binding/b",
        "api-key/k",
        "role/r",
        "event/1",
    ] {
        assert_eq!(principal_of(key), None, "{key}");
    }
}
