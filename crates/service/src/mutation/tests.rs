use std::time::SystemTime;

use photon_api::prismnet::v1::Vpc;
use photon_resource::PrincipalKind;

use super::*;

fn claims(principal_id: PrincipalId, org: Option<&str>, project: Option<&str>) -> Claims {
    Claims {
        principal_id,
        principal_name: "someone".into(),
        kind: PrincipalKind::User,
        impersonator: None,
        org_id: org.map(|org| org.parse().unwrap()),
        project_id: project.map(|project| project.parse().unwrap()),
        node: None,
        token_id: "t".into(),
        expires_at: SystemTime::now(),
    }
}

#[test]
fn an_id_says_nothing_of_another_tenant_or_project() {
    let principal_id = PrincipalId::generate();
    let kept = |org: Option<&str>, project: Option<&str>| {
        Kept::of(&claims(principal_id, org, project), "r1")
    };
    let all = [
        kept(None, None),
        kept(Some("acme"), None),
        kept(Some("acme"), Some("web")),
        kept(Some("acme"), Some("db")),
        kept(Some("globex"), Some("web")),
    ];
    let keys: std::collections::BTreeSet<_> = all.iter().map(|kept| &kept.key).collect();
    assert_eq!(keys.len(), all.len());
    // What the release before has answered is found where it can be of no other project.
    let before = Some(format!("request/{principal_id}/r1"));
    assert_eq!((&all[0].before, &all[1].before), (&before, &before));
    assert!(all[2..].iter().all(|kept| kept.before.is_none()));
}

/// An answer of so many bytes.
fn answer(bytes: usize) -> Vpc {
    Vpc {
        description: "x".repeat(bytes),
        ..Vpc::default()
    }
}

#[tokio::test]
async fn large_answers_are_kept_as_long_as_there_are_not_too_many() {
    let db = Db::memory();
    let mutations = Mutations::new(
        db.clone(),
        Ledger::new(db.clone(), "test"),
        &Limits::default(),
    );
    let caller = |org: &str| Caller {
        claims: claims(PrincipalId::generate(), Some(org), None),
        token: "secret".into(),
        source: "127.0.0.1".into(),
        request_id: "r".into(),
    };
    let call = async |who: &Caller, id: &str, bytes: usize| {
        let start = || mutations.start(who, "network:vpcs:update", id, &answer(0));
        let mut made = start().unwrap();
        let mut tx = db.begin();
        assert!(made.replay::<Vpc>(&mut tx).await.unwrap().is_none());
        made.commit_silently(tx, answer(bytes))
            .await
            .unwrap()
            .unwrap();
        start().unwrap().replay::<Vpc>(&mut db.begin()).await
    };
    let (acme, globex) = (caller("acme"), caller("globex"));
    // Each has a third more in base64.
    const LARGE: usize = 600 << 10;
    for n in 0..10 {
        let again = call(&acme, &format!("r{n}"), LARGE).await.unwrap();
        assert_eq!(again, Some(answer(LARGE)), "{n}");
    }
    let text = call(&acme, "r10", LARGE).await.unwrap_err().to_string();
    assert!(text.contains("'r10' was made before"), "{text}");
    // What is small is kept, and another organization is not concerned.
    let again = call(&acme, "small", 1000).await.unwrap();
    assert_eq!(again, Some(answer(1000)));
    let again = call(&globex, "r10", LARGE).await.unwrap();
    assert_eq!(again, Some(answer(LARGE)));
    // What no record can hold has its effect as well.
    call(&globex, "huge", MAX_VALUE_BYTES).await.unwrap_err();
}
