use super::*;

const QUANTITIES: [Quantity; 2] = [
    Quantity {
        name: "vms",
        per_project: Some(3),
        per_organization: 4,
    },
    Quantity {
        name: "vcpus",
        per_project: Some(10),
        per_organization: 100,
    },
];

fn project(name: &str) -> Scope {
    format!("org/acme/project/{name}").parse().unwrap()
}

async fn take(db: &Db, scope: &Scope, before: Uses, after: Uses) -> Result<(), flaredb::Error> {
    let mut tx = db.begin();
    change(&mut tx, scope, &before, &after);
    match tx.commit().await? {
        Committed::Done(_) => Ok(()),
        Committed::Conflict { key } => panic!("a conflict about {key}"),
    }
}

async fn used(db: &Db, scope: &Scope) -> BTreeMap<String, u64> {
    let key = holders(scope)[0].usage_key();
    let found: Option<Amounts> = db.get(&key).await.unwrap();
    found.unwrap_or_default().amounts
}

async fn store() -> Db {
    let db = Db::memory();
    Count::new().store(&db, &QUANTITIES).await.unwrap();
    db
}

#[tokio::test]
async fn what_is_taken_is_counted_and_more_than_may_be_is_refused() {
    let db = store().await;
    let web = project("web");
    let vm = |vcpus| vec![("vms", 1), ("vcpus", vcpus)];
    take(&db, &web, vec![], vm(4)).await.unwrap();
    take(&db, &web, vec![], vm(6)).await.unwrap();
    let full = take(&db, &web, vec![], vm(1)).await.unwrap_err();
    let text = full.to_string();
    assert!(
        text.contains("acme/web may have 10 vcpus, has 10 and would take 1 more"),
        "{text}"
    );
    assert!(text.contains("an operator can raise it"), "{text}");
    assert!(matches!(
        Error::from(full),
        Error::QuotaExceeded {
            quota: "vcpus",
            used: 10,
            limit: 10,
            ..
        }
    ));
    assert_eq!(
        used(&db, &web).await,
        BTreeMap::from([("vms".into(), 2), ("vcpus".into(), 10)])
    );
    // Less than before is no more, even beyond the limit.
    take(&db, &web, vm(6), vm(2)).await.unwrap();
    take(&db, &web, vec![], vm(1)).await.unwrap();
    // The organization has 4 in all.
    let db_project = project("db");
    take(&db, &db_project, vec![], vm(1)).await.unwrap();
    let full = take(&db, &db_project, vec![], vm(1)).await.unwrap_err();
    assert!(
        full.to_string()
            .contains("the organization acme may have 4 vms"),
        "{full}"
    );
    for (scope, vcpus) in [(&web, 4), (&web, 2), (&web, 1), (&db_project, 1)] {
        take(&db, scope, vm(vcpus), vec![]).await.unwrap();
    }
    assert_eq!(used(&db, &web).await, BTreeMap::new());
    let left = db.scan_raw("usage", None, 10).await.unwrap();
    assert_eq!(left.items.len(), 0, "nothing is left of what was counted");
}

#[tokio::test]
async fn several_things_of_one_transaction_are_one_count() {
    let db = store().await;
    let web = project("web");
    let mut tx = db.begin();
    for _ in 0..3 {
        change(&mut tx, &web, &vec![], &vec![("vms", 1)]);
    }
    change(&mut tx, &web, &vec![("vms", 1)], &vec![]);
    assert!(matches!(tx.commit().await.unwrap(), Committed::Done(_)));
    assert_eq!(used(&db, &web).await, BTreeMap::from([("vms".into(), 2)]));
}

#[tokio::test]
async fn many_at_once_neither_disturb_each_other_nor_get_beyond_the_limit() {
    let db = store().await;
    let web = project("web");
    let takes = (0..20).map(|_| take(&db, &web, vec![], vec![("vms", 1)]));
    let taken = futures::future::join_all(takes).await;
    assert_eq!(taken.iter().filter(|it| it.is_ok()).count(), 3);
    assert_eq!(used(&db, &web).await, BTreeMap::from([("vms".into(), 3)]));
}

#[tokio::test]
async fn a_start_counts_anew_and_forgets_what_is_not_there() {
    let db = store().await;
    let (web, gone) = (project("web"), project("gone"));
    take(&db, &gone, vec![], vec![("vms", 2)]).await.unwrap();
    let mut count = Count::new();
    count.add(&web, &vec![("vms", 1), ("vcpus", 0)]);
    count.store(&db, &QUANTITIES).await.unwrap();
    assert_eq!(used(&db, &web).await, BTreeMap::from([("vms".into(), 1)]));
    assert_eq!(used(&db, &gone).await, BTreeMap::new());
}

#[test]
fn settings_change_limits_of_what_is_counted_and_of_nothing_else() {
    let given = |name: &str| BTreeMap::from([(name.to_owned(), 7)]);
    let defaults = |project: &str, organization: &str| Defaults {
        project: given(project),
        organization: given(organization),
    };
    let adjusted = defaults("vms", "vcpus").of(&QUANTITIES).unwrap();
    assert_eq!(adjusted[0].per_project, Some(7));
    assert_eq!(adjusted[0].per_organization, 4);
    assert_eq!(adjusted[1].per_organization, 7);
    let error = defaults("vms", "vm").of(&QUANTITIES).unwrap_err();
    assert!(error.to_string().contains("vms, vcpus"), "{error}");
}
