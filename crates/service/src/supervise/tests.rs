use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use chainfire::{Filter, Ledger};
use flaredb::Db;
use photon_resource::{
    Action, Authorizer, Claims, Decision, PageRequest, PrincipalKind, Scope, TokenVerifier,
};

use super::*;

/// Decides as it is told, and counts questions.
#[derive(Default)]
struct Iam {
    questions: AtomicUsize,
    rights: AtomicUsize,
    /// What has this id is refused.
    refused: Mutex<Option<&'static str>>,
    /// Tokens that were revoked.
    revoked: Mutex<Vec<&'static str>>,
    unreachable: AtomicBool,
}

#[async_trait]
impl TokenVerifier for Iam {
    async fn verify(&self, _: &str) -> Result<Claims, Error> {
        unreachable!("streams are not authenticated again")
    }
}

#[async_trait]
impl Authorizer for Iam {
    async fn authorize(
        &self,
        _: &Caller,
        _: &Action,
        _: &ResourceName,
        _: &BTreeMap<String, String>,
    ) -> Result<Decision, Error> {
        unreachable!("they are asked for together")
    }

    async fn authorize_each(
        &self,
        caller: &Caller,
        _: &Action,
        resources: &[Described],
    ) -> Result<Vec<bool>, Error> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        self.rights.fetch_add(resources.len(), Ordering::SeqCst);
        if self.unreachable.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("IAM is away".into()));
        }
        if self
            .revoked
            .lock()
            .unwrap()
            .contains(&caller.token.as_str())
        {
            return Err(Error::Unauthenticated("the token has been revoked".into()));
        }
        let refused = *self.refused.lock().unwrap();
        let allowed = resources.iter().map(|it| Some(it.name.id()) != refused);
        Ok(allowed.collect())
    }
}

fn guard() -> (Arc<Iam>, Guard) {
    let (iam, guard, _) = guard_and_ledger();
    (iam, guard)
}

fn guard_and_ledger() -> (Arc<Iam>, Guard, Ledger) {
    let iam = Arc::new(Iam::default());
    let ledger = Ledger::new(Db::memory(), "test");
    let guard = Guard::new(iam.clone(), iam.clone(), ledger.clone());
    (iam, guard, ledger)
}

fn caller(principal: PrincipalId, token: &str) -> Caller {
    Caller {
        claims: Claims {
            principal_id: principal,
            principal_name: "ann".into(),
            kind: PrincipalKind::User,
            impersonator: None,
            org_id: None,
            project_id: None,
            node: None,
            token_id: token.into(),
            expires_at: SystemTime::now() + Duration::from_secs(900),
        },
        token: token.into(),
        source: "192.0.2.1".into(),
        request_id: String::new(),
    }
}

fn vm(id: usize) -> ResourceName {
    ResourceName::new(Scope::System, "instances", id)
}

fn watch(guard: &Guard, caller: &Caller, id: usize) -> Supervision {
    let action = "compute:instances:watch".to_owned();
    guard.supervise(caller.clone(), action, vm(id), Vec::new())
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count) + Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_watches_of_a_principal_are_one_question_a_second() {
    let (iam, guard) = guard();
    let ann = caller(PrincipalId::generate(), "one");
    // Of ten VMs: as many rights.
    let open: Vec<_> = (0..1000).map(|at| watch(&guard, &ann, at % 10)).collect();
    seconds(20).await;
    assert_eq!(iam.questions.load(Ordering::SeqCst), 20);
    assert_eq!(iam.rights.load(Ordering::SeqCst), 20 * 10);
    // They end, and nothing is asked any more, nor kept.
    drop(open);
    seconds(5).await;
    assert_eq!(iam.questions.load(Ordering::SeqCst), 20);
    assert!(guard.open_streams().lock().is_empty());
    // Until there is one again.
    let _again = watch(&guard, &ann, 0);
    seconds(1).await;
    assert_eq!(iam.questions.load(Ordering::SeqCst), 21);
}

#[tokio::test(start_paused = true)]
async fn kinds_of_streams_and_tokens_take_turns_and_each_comes_within_seconds() {
    let (iam, guard) = guard();
    let ann = PrincipalId::generate();
    let tokens: Vec<String> = (0..20).map(|number| format!("token {number}")).collect();
    let open: Vec<_> = tokens
        .iter()
        .map(|token| watch(&guard, &caller(ann, token), 0))
        .collect();
    seconds(10).await;
    // 20 groups, each once in five rounds.
    assert_eq!(iam.questions.load(Ordering::SeqCst), 10 * 4);
    assert_eq!(iam.rights.load(Ordering::SeqCst), 10 * 4);
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn more_rights_than_a_question_takes_are_several() {
    let (iam, guard) = guard();
    let ann = caller(PrincipalId::generate(), "one");
    let _open: Vec<_> = (0..=RIGHTS).map(|id| watch(&guard, &ann, id)).collect();
    seconds(1).await;
    assert_eq!(iam.questions.load(Ordering::SeqCst), 2);
    assert_eq!(iam.rights.load(Ordering::SeqCst), RIGHTS + 1);
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_lost_ends_its_own_streams_alone() {
    let (iam, guard, ledger) = guard_and_ledger();
    let ann = caller(PrincipalId::generate(), "one");
    let (mut one, mut same) = (watch(&guard, &ann, 1), watch(&guard, &ann, 1));
    let mut other = watch(&guard, &ann, 2);
    *iam.refused.lock().unwrap() = Some("1");
    for lost in [one.lost().await, same.lost().await] {
        assert!(matches!(lost, Error::PermissionDenied { .. }), "{lost}");
    }
    let goes_on = tokio::time::timeout(Duration::from_secs(30), other.lost()).await;
    assert!(goes_on.is_err());
    let first = PageRequest::parse(10, "").unwrap();
    let page = ledger.list(&Filter::default(), &first).await.unwrap();
    assert_eq!(
        page.events.len(),
        1,
        "one refusal, whatever the number of streams"
    );
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_ends_all_of_its_streams_and_no_others() {
    let (iam, guard) = guard();
    let ann = PrincipalId::generate();
    let mut by_one = watch(&guard, &caller(ann, "one"), 1);
    let console = "compute:instances:console".to_owned();
    let mut by_one_too = guard.supervise(caller(ann, "one"), console, vm(1), Vec::new());
    let mut by_two = watch(&guard, &caller(ann, "two"), 1);
    iam.revoked.lock().unwrap().push("one");
    for lost in [by_one.lost().await, by_one_too.lost().await] {
        assert!(matches!(lost, Error::Unauthenticated(_)), "{lost}");
    }
    let goes_on = tokio::time::timeout(Duration::from_secs(30), by_two.lost()).await;
    assert!(goes_on.is_err());
}

#[tokio::test(start_paused = true)]
async fn streams_outlast_an_iam_that_is_away_for_a_short_while_alone() {
    let (iam, guard) = guard();
    let ann = caller(PrincipalId::generate(), "one");
    let mut open = watch(&guard, &ann, 1);
    iam.unreachable.store(true, Ordering::SeqCst);
    let short = tokio::time::timeout(Duration::from_secs(8), open.lost()).await;
    assert!(short.is_err());
    iam.unreachable.store(false, Ordering::SeqCst);
    seconds(2).await;
    iam.unreachable.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let lost = open.lost().await;
    assert!(matches!(lost, Error::Unavailable(_)), "{lost}");
    assert!(began.elapsed() >= UNASKED_AT_MOST - ASKED_EVERY);
}

/// An upload that was judged when it began goes on without its token; a watch does not.
#[tokio::test(start_paused = true)]
async fn what_was_judged_when_it_began_outlasts_its_token_and_nothing_else() {
    let (iam, guard) = guard();
    let ann = PrincipalId::generate();
    let mut ended = caller(ann, "one");
    ended.claims.expires_at = SystemTime::now() - Duration::from_secs(1);
    let action = "compute:images:create".to_owned();
    let mut upload = guard.supervise_judged(ended.clone(), action, vm(1), Vec::new());
    let mut watch = watch(&guard, &ended, 2);
    iam.revoked.lock().unwrap().push("one");
    seconds(5).await;
    assert!(matches!(watch.lost().await, Error::Unauthenticated(_)));
    let asked = iam.questions.load(Ordering::SeqCst);
    let waited = tokio::time::timeout(Duration::from_secs(60), upload.lost()).await;
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(iam.questions.load(Ordering::SeqCst), asked);
}

/// With a token that has not ended, what is refused is revoked, and with a session, whatever permitted it has ended.
#[tokio::test(start_paused = true)]
async fn a_revoked_token_and_an_ended_session_end_an_upload_too() {
    let (iam, guard) = guard();
    let ann = PrincipalId::generate();
    let action = || "compute:images:create".to_owned();
    let good = caller(ann, "one");
    let mut revoked = guard.supervise_judged(good, action(), vm(1), Vec::new());
    let mut ended = caller(ann, "two");
    ended.claims.expires_at = SystemTime::now() - Duration::from_secs(1);
    let mut of_session = guard.supervise_judged(ended, action(), vm(1), Vec::new());
    seconds(3).await;
    iam.revoked.lock().unwrap().extend(["one", "two"]);
    assert!(matches!(revoked.lost().await, Error::Unauthenticated(_)));
    assert!(matches!(of_session.lost().await, Error::Unauthenticated(_)));
}
