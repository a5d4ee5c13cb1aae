//! The proof over random chains: whatever single thing is done to one, it is found, at its place.

use chainfire::{Digest, Event, Found, Head, Outcome, Problem, ProblemKind, verify_events};
use flaredb::{decode, encode};
use proptest::prelude::*;
use proptest::sample::Index;

const CHAIN: &str = "acme";

fn content() -> impl Strategy<Value = Event> {
    (
        (any::<u64>(), ".{0,6}", ".{0,6}", ".{0,6}", ".{0,6}"),
        (".{0,6}", ".{0,6}", any::<bool>(), ".{0,6}", ".{0,6}"),
        proptest::option::of(any::<u8>()),
        proptest::option::of(any::<u8>()),
    )
        .prop_map(|(first, second, before, after)| Event {
            sequence: 0,
            time_us: first.0,
            org_id: CHAIN.into(),
            project_id: first.1,
            principal_id: first.2,
            principal_name: first.3,
            impersonator_id: second.4.clone(),
            impersonator_name: second.3.clone(),
            source: first.4,
            action: second.0,
            resource: second.1,
            outcome: if second.2 {
                Outcome::Success
            } else {
                Outcome::Denied
            },
            reason: second.3,
            request_id: second.4,
            before_digest: before.map(|byte| Digest::of(&[byte])),
            after_digest: after.map(|byte| Digest::of(&[byte])),
            service: "test".into(),
            previous_hash: Digest::ZERO,
            hash: Digest::ZERO,
        })
}

/// Numbers and links the events from `from` (counted from 0) on.
fn link(events: &mut [Event], from: usize) {
    for at in from..events.len() {
        events[at].sequence = at as u64 + 1;
        events[at].previous_hash = match at {
            0 => Digest::ZERO,
            _ => events[at - 1].hash,
        };
        events[at].hash = events[at].compute_hash();
    }
}

fn chain() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(content(), 1..12).prop_map(|mut events| {
        link(&mut events, 0);
        events
    })
}

/// A chain of which one event, counted from 0, is meant.
fn chain_and_place() -> impl Strategy<Value = (Vec<Event>, usize)> {
    (chain(), any::<Index>()).prop_map(|(events, at)| {
        let at = at.index(events.len());
        (events, at)
    })
}

fn found(events: &[Event]) -> Vec<Found> {
    (1..)
        .zip(events)
        .map(|(sequence, event)| Found {
            sequence,
            event: Ok(event.clone()),
        })
        .collect()
}

fn head(events: &[Event]) -> Option<Head> {
    events.last().map(Event::head)
}

/// Where the first problem is; 0: nowhere.
fn problem_at(found: Vec<Found>, head: Option<Head>, known: Option<Head>) -> u64 {
    verify_events(CHAIN, found, head, known)
        .problem
        .map_or(0, |problem| problem.sequence)
}

/// Changes one field of an event, other than its hash, to something else.
fn alter(event: &mut Event, field: usize) {
    let text = |text: &mut String| text.push('x');
    let digest = |digest: &mut Option<Digest>| {
        *digest = match digest {
            Some(_) => None,
            None => Some(Digest::of(b"other")),
        }
    };
    match field {
        0 => event.sequence += 1,
        1 => event.time_us = event.time_us.wrapping_add(1),
        2 => text(&mut event.org_id),
        3 => text(&mut event.project_id),
        4 => text(&mut event.principal_id),
        5 => text(&mut event.principal_name),
        6 => text(&mut event.source),
        7 => text(&mut event.action),
        8 => text(&mut event.resource),
        9 => {
            event.outcome = match event.outcome {
                Outcome::Success => Outcome::Denied,
                Outcome::Denied => Outcome::Success,
            }
        }
        10 => text(&mut event.reason),
        11 => text(&mut event.request_id),
        12 => digest(&mut event.before_digest),
        13 => digest(&mut event.after_digest),
        14 => text(&mut event.service),
        _ => event.previous_hash = Digest::of(b"other"),
    }
}

const FIELDS: usize = 16;

proptest! {
    #[test]
    fn an_untouched_chain_is_intact((events, at) in chain_and_place()) {
        let known = Some(events[at].head());
        for known in [None, known] {
            let report = verify_events(CHAIN, found(&events), head(&events), known);
            prop_assert_eq!(&report.problem, &None);
            prop_assert_eq!(report.events, events.len() as u64);
            prop_assert_eq!(Some(report.head), head(&events));
        }
    }

    #[test]
    fn an_altered_field_is_found((mut events, at) in chain_and_place(), field in 0..FIELDS) {
        let head = head(&events);
        alter(&mut events[at], field);
        let sequence = at as u64 + 1;
        let report = verify_events(CHAIN, found(&events), head, None);
        prop_assert_eq!(report.problem, Some(Problem { sequence, kind: ProblemKind::Altered }));
        prop_assert_eq!(report.events, sequence - 1);
        // With a hash of its own it is not found there, but by what continues it.
        events[at].hash = events[at].compute_hash();
        prop_assert_eq!(problem_at(found(&events), head, None), sequence);
    }

    #[test]
    fn an_altered_hash_is_found((mut events, at) in chain_and_place()) {
        let head = head(&events);
        events[at].hash = Digest::of(b"other");
        prop_assert_eq!(problem_at(found(&events), head, None), at as u64 + 1);
    }

    #[test]
    fn an_altered_byte_is_found((events, at) in chain_and_place(), byte in any::<Index>(), with in 1..=255u8) {
        let mut found = found(&events);
        let mut bytes = encode("k", &events[at]).unwrap();
        let byte = byte.index(bytes.len());
        bytes[byte] ^= with;
        found[at].event = decode("k", &bytes).map_err(|error| error.to_string());
        // JSON spells some characters in two ways (`\u001f`, `\u001F`): then nothing was altered.
        prop_assume!(found[at].event.as_ref() != Ok(&events[at]));
        prop_assert_eq!(problem_at(found, head(&events), None), at as u64 + 1);
    }

    #[test]
    fn a_removed_event_is_found((events, at) in chain_and_place()) {
        let mut found = found(&events);
        found.remove(at);
        prop_assert_eq!(problem_at(found, head(&events), None), at as u64 + 1);
    }

    /// Removed, with the later ones moved down into its place.
    #[test]
    fn a_closed_gap_is_found((mut events, at) in chain_and_place()) {
        let head = head(&events);
        events.remove(at);
        prop_assert_eq!(problem_at(found(&events), head, None), at as u64 + 1);
    }

    #[test]
    fn swapped_events_are_found((mut events, at) in chain_and_place(), other in any::<Index>()) {
        let other = other.index(events.len());
        prop_assume!(at != other);
        let head = head(&events);
        events.swap(at, other);
        prop_assert_eq!(problem_at(found(&events), head, None), at.min(other) as u64 + 1);
    }

    #[test]
    fn an_inserted_event_is_found((mut events, at) in chain_and_place()) {
        let head = head(&events);
        events.insert(at, events[at].clone());
        prop_assert_eq!(problem_at(found(&events), head, None), at as u64 + 2);
    }

    #[test]
    fn a_chain_cut_off_below_its_head_is_found((events, at) in chain_and_place()) {
        prop_assert_eq!(problem_at(found(&events[..at]), head(&events), None), at as u64 + 1);
    }

    #[test]
    fn a_chain_cut_off_below_a_known_head_is_found((events, at) in chain_and_place(), known in any::<Index>()) {
        let known = at + known.index(events.len() - at);
        let known = Some(events[known].head());
        let cut = &events[..at];
        prop_assert_eq!(problem_at(found(cut), head(cut), known), at as u64 + 1);
    }

    /// Everything from an event on made anew, hashes and head included: only the known head shows it.
    #[test]
    fn a_chain_rewritten_below_a_known_head_is_found((mut events, at) in chain_and_place(), known in any::<Index>(), field in 1..15usize) {
        prop_assume!(field != 2);
        let known = at + known.index(events.len() - at);
        let kept = events[known].head();
        alter(&mut events[at], field);
        link(&mut events, at);
        prop_assert_eq!(problem_at(found(&events), head(&events), None), 0);
        let report = verify_events(CHAIN, found(&events), head(&events), Some(kept));
        let expected = Problem { sequence: known as u64 + 1, kind: ProblemKind::Rewritten };
        prop_assert_eq!(report.problem, Some(expected));
    }

    #[test]
    fn an_altered_head_is_found((events, at) in chain_and_place()) {
        let last = events.len() as u64;
        let mut other = head(&events).unwrap();
        other.hash = Digest::of(b"other");
        prop_assert_eq!(problem_at(found(&events), Some(other), None), last);
        prop_assert_eq!(problem_at(found(&events), None, None), last + 1);
        // Moved back: what follows it was not appended.
        if at + 1 < events.len() {
            let back = Some(events[at].head());
            prop_assert_eq!(problem_at(found(&events), back, None), at as u64 + 2);
        }
    }

    #[test]
    fn a_chain_under_another_name_is_found(events in chain()) {
        let report = verify_events("globex", found(&events), head(&events), None);
        let expected = Problem { sequence: 1, kind: ProblemKind::OtherChain(CHAIN.into()) };
        prop_assert_eq!(report.problem, Some(expected));
    }

    /// Whatever is found, there is an answer.
    #[test]
    fn no_find_makes_it_panic(
        (events, at) in chain_and_place(),
        places in proptest::collection::vec((any::<Index>(), 0..15u64, any::<bool>()), 0..15),
    ) {
        let found = places.into_iter().map(|(event, sequence, readable)| Found {
            sequence,
            event: match readable {
                true => Ok(events[event.index(events.len())].clone()),
                false => Err("damaged".to_owned()),
            },
        });
        let head = Some(events[at].head());
        let report = verify_events(CHAIN, found, head, head);
        prop_assert!(report.events <= events.len() as u64);
    }
}

#[test]
fn an_empty_chain_is_intact() {
    let report = verify_events(CHAIN, [], None, None);
    assert_eq!(
        (report.intact(), report.events, report.head),
        (true, 0, Head::EMPTY)
    );
}
