use std::time::SystemTime;

use super::permit::{BYTES_OF_STRANGER, BYTES_PER_CALL, TIME_PER_CALL};
use super::*;

fn limits() -> Limits {
    Limits {
        calls: 64,
        streams: 64,
        principal: Share {
            calls: 8,
            streams: 2,
            per_second: 1000,
            burst: 1000,
        },
        organization: Share {
            calls: 12,
            streams: 3,
            per_second: 1000,
            burst: 1000,
        },
        stranger: Share {
            calls: 4,
            streams: 1,
            per_second: 1000,
            burst: 1000,
        },
        ..Limits::default()
    }
}

fn principal(kind: PrincipalKind, org: Option<&str>) -> Who {
    Who::Known(Arc::new(Claims {
        principal_id: PrincipalId::generate(),
        principal_name: "someone".into(),
        kind,
        org_id: org.map(|org| org.parse().unwrap()),
        project_id: None,
        node: None,
        token_id: "t".into(),
        impersonator: None,
        expires_at: SystemTime::now(),
    }))
}

fn stranger(n: u8) -> Who {
    Who::stranger(Some(IpAddr::from([192, 0, 2, n])), false)
}

/// Calls of `who` until one is refused.
async fn all(admission: &Arc<Admission>, who: &Who, kind: Kind) -> Vec<Permit> {
    let mut permits = Vec::new();
    while let Ok(permit) = admission.admit(who.clone(), kind).await {
        permits.push(permit);
    }
    permits
}

#[tokio::test]
async fn one_has_its_share_and_leaves_the_rest() {
    let admission = Arc::new(Admission::new(limits()));
    let (ann, bob) = (
        principal(PrincipalKind::User, Some("acme")),
        principal(PrincipalKind::User, Some("acme")),
    );
    let anns = all(&admission, &ann, Kind::Call).await;
    assert_eq!(anns.len(), 8);
    assert_eq!(
        all(&admission, &bob, Kind::Call).await.len(),
        4,
        "what is left of acme's"
    );
    let eve = principal(PrincipalKind::ServiceAccount, Some("globex"));
    assert_eq!(all(&admission, &eve, Kind::Call).await.len(), 8);
    assert_eq!(all(&admission, &ann, Kind::Stream).await.len(), 2);
    drop(anns);
    assert_eq!(all(&admission, &ann, Kind::Call).await.len(), 8);
    assert_eq!(admission.holds.keys(), 0, "nobody holds anything any more");
}

#[tokio::test]
async fn all_tenants_and_strangers_leave_room_for_hosts_servers_operators_and_health() {
    let admission = Arc::new(Admission::new(limits()));
    let mut held = Vec::new();
    for n in 0..20 {
        let tenant = principal(PrincipalKind::User, Some(&format!("org-{n}")));
        for kind in [Kind::Call, Kind::Stream] {
            held.extend(all(&admission, &tenant, kind).await);
            held.extend(all(&admission, &stranger(n), kind).await);
        }
    }
    let calls = held.iter().filter(|it| it.kind == Kind::Call).count();
    assert_eq!(calls, 48 + 8);
    for who in [
        principal(PrincipalKind::Node, None),
        principal(PrincipalKind::Service, None),
        principal(PrincipalKind::User, None),
    ] {
        for kind in [Kind::Call, Kind::Stream] {
            held.push(admission.admit(who.clone(), kind).await.unwrap());
        }
    }
    held.push(admission.admit(stranger(1), Kind::Probe).await.unwrap());
    // A host of the cloud signs in.
    let own = Who::stranger(Some(IpAddr::from([192, 0, 2, 99])), true);
    held.push(admission.admit(own, Kind::Call).await.unwrap());
}

#[tokio::test]
async fn whoever_asks_too_fast_waits_and_is_then_told_when_to_come_again() {
    let mut limits = limits();
    limits.principal.per_second = 20;
    limits.principal.burst = 2;
    limits.principal.calls = 64;
    limits.organization.calls = 64;
    limits.calls = 1024;
    let admission = Arc::new(Admission::new(limits));
    let ann = principal(PrincipalKind::User, Some("acme"));
    let begun = Instant::now();
    for _ in 0..5 {
        admission.admit(ann.clone(), Kind::Call).await.unwrap();
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(140), "{took:?}");
    let many: Vec<_> = (0..64)
        .map(|_| admission.admit(ann.clone(), Kind::Call))
        .collect();
    let (admitted, refused): (Vec<_>, Vec<_>) = futures::future::join_all(many)
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert!(admitted.len() <= 55, "{}", admitted.len());
    let status = refused.into_iter().next().unwrap().unwrap_err().status();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status
            .message()
            .contains("someone of acme may make 20 calls a second"),
        "{status}"
    );
    let details = status.get_details_retry_info().unwrap();
    assert!(details.retry_delay.is_some());
    // Another one of the same organization does not wait.
    let begun = Instant::now();
    let bob = principal(PrincipalKind::User, Some("acme"));
    admission.admit(bob, Kind::Call).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// A host that was taken over, or that is broken, is no flood.
#[tokio::test]
async fn hosts_and_servers_have_a_pace_ten_times_as_fast() {
    let mut limits = limits();
    limits.principal.per_second = 2;
    limits.principal.burst = 2;
    let admission = Arc::new(Admission::new(limits));
    for kind in [PrincipalKind::Node, PrincipalKind::Service] {
        let who = principal(kind, None);
        let begun = Instant::now();
        for _ in 0..22 {
            admission.admit(who.clone(), Kind::Call).await.unwrap();
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(80), "{took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test]
async fn large_and_long_answers_are_paid_for() {
    let mut limits = limits();
    limits.principal.per_second = 10;
    limits.principal.burst = 10;
    let admission = Arc::new(Admission::new(limits));
    for pay in [
        |permit: &Permit| permit.told(9 * BYTES_PER_CALL),
        |permit: &Permit| permit.took(9 * TIME_PER_CALL),
        |permit: &Permit| (0..9 * 16).for_each(|_| permit.told(BYTES_PER_CALL / 16)),
    ] {
        let ann = principal(PrincipalKind::User, Some("acme"));
        let permit = admission.admit(ann.clone(), Kind::Call).await.unwrap();
        pay(&permit);
        let begun = Instant::now();
        admission.admit(ann, Kind::Call).await.unwrap();
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(80), "{took:?}");
    }
}

#[tokio::test]
async fn bytes_are_held_until_the_call_has_ended() {
    let admission = Arc::new(Admission::new(limits()));
    let permit = admission.admit(stranger(1), Kind::Call).await.unwrap();
    let mut bytes = permit.bytes();
    bytes.take(BYTES_OF_STRANGER - 10).unwrap();
    let mut more = permit.bytes();
    assert_eq!(more.take(11).unwrap_err().code(), Code::ResourceExhausted);
    let other = admission.admit(stranger(2), Kind::Call).await.unwrap();
    other.bytes().take(11).unwrap();
    drop(bytes);
    more.take(11).unwrap();
}

#[test]
fn who_is_no_server_asks_for_decisions_at_the_pace_of_a_call() {
    let at = |text: &str| Some(text.parse().unwrap());
    let far = at("192.0.2.1:4000");
    assert_eq!(Kind::Decision.asked_by(far, false), Kind::Call);
    assert_eq!(Kind::Decision.asked_by(far, true), Kind::Decision);
    let here = at("127.0.0.1:4000");
    assert_eq!(Kind::Decision.asked_by(here, false), Kind::Decision);
    assert_eq!(Kind::Stream.asked_by(far, false), Kind::Stream);
}
