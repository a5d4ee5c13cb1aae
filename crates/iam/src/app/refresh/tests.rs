//! What a refresh token is to its session, whenever it comes.

use photon_resource::PrincipalId;

use super::*;

fn session(first: &RefreshSecret, at: SystemTime) -> Session {
    Session {
        id: first.session(),
        principal_id: PrincipalId::generate(),
        home: None,
        org_id: None,
        project_id: None,
        api_key: None,
        generation: 0,
        token_seconds: 900,
        family_sha256: first.family_sha256(),
        secret_sha256: first.single_sha256(),
        before: None,
        created_at: at,
        last_used_at: at,
        ends_at: at + Duration::from_secs(7 * 24 * 3600),
        source: String::new(),
        client: String::new(),
    }
}

fn used(session: &Session, current: &RefreshSecret, at: SystemTime) -> (Session, RefreshSecret) {
    let salt = RefreshSecret::salt().unwrap();
    let next = current.successor(&salt);
    let after = Session {
        secret_sha256: next.single_sha256(),
        before: Some(Predecessor {
            secret_sha256: current.single_sha256(),
            salt,
            used_at: at,
        }),
        last_used_at: at,
        ..session.clone()
    };
    (after, next)
}

#[test]
fn one_is_good_once_and_the_one_before_gets_the_same_again_for_a_minute() {
    let start = now();
    let minute = Duration::from_secs(60);
    let r0 = RefreshSecret::generate(SessionId::generate()).unwrap();
    let s0 = session(&r0, start);
    assert_eq!(judge(&s0, &r0, start), Verdict::Current);
    let (s1, r1) = used(&s0, &r0, start);
    assert_eq!(judge(&s1, &r1, start), Verdict::Current);
    let Verdict::Again(salt) = judge(&s1, &r0, start + minute / 2) else {
        panic!("an answer that was lost is given again");
    };
    assert_eq!(r0.successor(&salt), r1);
    assert_eq!(judge(&s1, &r0, start + minute), Verdict::Reused);
    // Once the successor was used too, the one before is an old one, whenever it comes.
    let (s2, r2) = used(&s1, &r1, start);
    assert_eq!(judge(&s2, &r0, start), Verdict::Reused);
    assert_eq!(judge(&s2, &r2, start), Verdict::Current);
}

#[test]
fn one_that_was_made_up_ends_nothing() {
    let start = now();
    let r0 = RefreshSecret::generate(SessionId::generate()).unwrap();
    let made_up = RefreshSecret::generate(r0.session()).unwrap();
    assert_eq!(
        judge(&session(&r0, start), &made_up, start),
        Verdict::Foreign
    );
}

#[test]
fn a_session_ends_when_it_is_not_used_and_in_any_case() {
    let start = now();
    let hour = Duration::from_secs(3600);
    let lasting = session::Lasting {
        idle: hour * 12,
        longest: hour * 24 * 7,
    };
    let r0 = RefreshSecret::generate(SessionId::generate()).unwrap();
    let mut used = session(&r0, start);
    assert_eq!(lasting.lapsed(&used, start + hour * 11), None);
    let why = lasting.lapsed(&used, start + hour * 12).unwrap();
    assert!(why.contains("12.0 h"), "{why}");
    used.last_used_at = start + hour * 24 * 7 - hour;
    assert_eq!(lasting.ends(&used), used.ends_at);
    assert!(lasting.lapsed(&used, used.ends_at).is_some());
}
