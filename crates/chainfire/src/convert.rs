//! From and to the messages of `chainfire.v1`.

use photon_api::chainfire::v1 as api;
use photon_resource::{Error, OrgId};

use crate::{Digest, Event, Filter, Head, Outcome, Report};

impl From<Event> for api::Event {
    fn from(event: Event) -> Self {
        let text = |digest: Option<Digest>| digest.map(|it| it.to_string()).unwrap_or_default();
        let micros = event.time_us % 1_000_000;
        api::Event {
            sequence: event.sequence,
            time: Some(prost_types::Timestamp {
                seconds: i64::try_from(event.time_us / 1_000_000).unwrap_or(i64::MAX),
                // Below 10^9, so it fits.
                nanos: (micros * 1000) as i32,
            }),
            org_id: event.org_id,
            project_id: event.project_id,
            principal_id: event.principal_id,
            principal_name: event.principal_name,
            impersonator_id: event.impersonator_id,
            impersonator_name: event.impersonator_name,
            source: event.source,
            action: event.action,
            resource: event.resource,
            outcome: api::Outcome::from(event.outcome).into(),
            reason: event.reason,
            request_id: event.request_id,
            before_digest: text(event.before_digest),
            after_digest: text(event.after_digest),
            previous_hash: event.previous_hash.to_string(),
            hash: event.hash.to_string(),
            service: event.service,
        }
    }
}

impl From<Outcome> for api::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => api::Outcome::Success,
            Outcome::Denied => api::Outcome::Denied,
        }
    }
}

impl Filter {
    /// The filter of a request, for the chain of `org` (`None`: the system's), which the caller has found out
    /// from the request and the token.
    pub fn from_request(
        org: Option<OrgId>,
        request: &api::ListEventsRequest,
    ) -> Result<Self, Error> {
        let outcome = match api::Outcome::try_from(request.outcome) {
            Ok(api::Outcome::Unspecified) => None,
            Ok(api::Outcome::Success) => Some(Outcome::Success),
            Ok(api::Outcome::Denied) => Some(Outcome::Denied),
            Err(_) => {
                return Err(Error::invalid(
                    "outcome",
                    request.outcome,
                    "OUTCOME_UNSPECIFIED, OUTCOME_SUCCESS or OUTCOME_DENIED",
                ));
            }
        };
        Ok(Filter {
            org,
            project: None,
            after_sequence: request.after_sequence,
            principal_id: Some(request.principal_id.clone()).filter(|id| !id.is_empty()),
            action_prefix: request.action_prefix.clone(),
            resource_prefix: request.resource_prefix.clone(),
            outcome,
        })
    }
}

impl Head {
    /// The known head of a request; `None`: it gives none.
    pub fn from_request(request: &api::VerifyChainRequest) -> Result<Option<Self>, Error> {
        if request.known_sequence == 0 && request.known_hash.is_empty() {
            return Ok(None);
        }
        if request.known_sequence == 0 {
            return Err(Error::invalid(
                "known_sequence",
                0,
                "the head_sequence that was answered together with this head_hash",
            ));
        }
        let hash = request.known_hash.parse().map_err(|_| {
            Error::invalid(
                "known_hash",
                &request.known_hash,
                "the head_hash of an earlier verification: 64 of 0-9 and a-f",
            )
        })?;
        Ok(Some(Head {
            sequence: request.known_sequence,
            hash,
        }))
    }
}

impl From<Report> for api::VerifyChainResponse {
    fn from(report: Report) -> Self {
        let intact = report.intact();
        let (first_bad_sequence, problem) = match report.problem {
            Some(problem) => (problem.sequence, problem.to_string()),
            None => (0, String::new()),
        };
        api::VerifyChainResponse {
            intact,
            first_sequence: report.first,
            events: report.events,
            head_sequence: report.head.sequence,
            head_hash: report.head.hash.to_string(),
            first_bad_sequence,
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewEvent, Problem, ProblemKind};

    #[test]
    fn an_event_becomes_its_message() {
        let new = NewEvent {
            org_id: None,
            project_id: None,
            principal_id: None,
            principal_name: "root".into(),
            impersonator: None,
            source: "192.0.2.7".into(),
            action: "iam:tokens:create".into(),
            resource: "system/tokens/-".into(),
            outcome: Outcome::Denied,
            reason: "wrong password".into(),
            request_id: "r".into(),
            before_digest: None,
            after_digest: Some(Digest::of(b"abc")),
        };
        let event = Event::continuing(&Head::EMPTY, &new, "iam", 1_800_000_000_000_007);
        let message = api::Event::from(event.clone());
        let time = message.time.unwrap();
        assert_eq!((time.seconds, time.nanos), (1_800_000_000, 7_000));
        assert_eq!((message.sequence, message.org_id.as_str()), (1, "system"));
        assert_eq!(message.outcome(), api::Outcome::Denied);
        assert_eq!(message.before_digest, "");
        assert_eq!(message.after_digest, Digest::of(b"abc").to_string());
        assert_eq!(message.previous_hash, "0".repeat(64));
        assert_eq!(message.hash, event.hash.to_string());
        assert_eq!(
            (message.principal_id.as_str(), message.service.as_str()),
            ("", "iam")
        );
    }

    #[test]
    fn a_request_becomes_its_filter() {
        let mut request = api::ListEventsRequest {
            after_sequence: 4,
            action_prefix: "iam:".into(),
            outcome: api::Outcome::Denied.into(),
            ..Default::default()
        };
        let filter = Filter::from_request(None, &request).unwrap();
        assert_eq!((filter.after_sequence, filter.principal_id), (4, None));
        assert_eq!(filter.outcome, Some(Outcome::Denied));
        request.outcome = 9;
        let error = Filter::from_request(None, &request)
            .unwrap_err()
            .to_string();
        assert!(error.contains("outcome '9'"), "{error}");
    }

    #[test]
    fn a_known_head_is_whole_or_absent() {
        let request = |known_sequence, known_hash: &str| api::VerifyChainRequest {
            known_sequence,
            known_hash: known_hash.into(),
            ..Default::default()
        };
        let hash = Digest::of(b"abc");
        assert_eq!(Head::from_request(&request(0, "")).unwrap(), None);
        let head = Head { sequence: 3, hash };
        let given = Head::from_request(&request(3, &hash.to_string())).unwrap();
        assert_eq!(given, Some(head));
        for (sequence, hash, field) in [
            (3, "", "known_hash"),
            (3, "abc", "known_hash"),
            (0, hash.to_string().as_str(), "known_sequence"),
        ] {
            let error = Head::from_request(&request(sequence, hash)).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }

    #[test]
    fn a_report_names_the_first_problem() {
        let head = Head {
            sequence: 4,
            hash: Digest::of(b"abc"),
        };
        let problem = Problem {
            sequence: 5,
            kind: ProblemKind::Missing,
        };
        let mut report = Report {
            first: 1,
            events: 4,
            head,
            problem: Some(problem),
        };
        let message = api::VerifyChainResponse::from(report.clone());
        assert_eq!((message.intact, message.first_bad_sequence), (false, 5));
        assert!(message.problem.contains("event 5 was removed"));
        report.problem = None;
        let message = api::VerifyChainResponse::from(report);
        assert_eq!((message.intact, message.first_bad_sequence), (true, 0));
        assert_eq!((message.head_sequence, message.problem.as_str()), (4, ""));
    }
}
