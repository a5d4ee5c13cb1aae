//! The contract that a call may be repeated: under one `request_id` it happens once and answers the same, at once and
//! later, in whatever order its labels come. With it: its one event digests what is stored, and the times that are read
//! are those that were answered.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::chainfire::v1::{Event, ListEventsRequest, Outcome};
use prost_reflect::{DynamicMessage, Kind};
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

use super::message::{self, Api};
use super::problem::Problem;
use super::{Case, Who, methods, raw};
use crate::session::Session;

/// How often a call is made at once.
const TIMES: usize = 8;
const LABELS: [(&str, &str); 4] = [
    ("tier", "web"),
    ("env", "production"),
    ("owner", "carol"),
    ("cost", "4"),
];
/// What only the first answer has: it is not stored.
const SECRETS: [&str; 3] = ["secret", "secret_access_key", "token"];

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repetitions {
    /// RPCs with a `request_id`.
    pub methods: usize,
    /// Of these, those that take labels.
    pub labelled: usize,
    /// Calls.
    pub calls: usize,
}

/// What a server under test is asked through and compared with.
pub struct Witness<'a, Stored> {
    /// The server.
    pub channel: &'a Channel,
    /// May read every chain of events.
    pub auditor: &'a Session,
    /// Whose chains: organizations, and `system`.
    pub chains: &'a [&'a str],
    /// The SHA-256 digests of everything that the server has stored, in hex.
    pub stored: Stored,
}

/// A call that was made, to be made again at the end.
struct Made<'a> {
    case: &'a Case,
    request: DynamicMessage,
    answer: DynamicMessage,
}

/// Makes every call of `cases` that has a `request_id`, in their order. Answers what is wrong.
pub async fn repeated<Stored>(
    witness: &Witness<'_, Stored>,
    cases: &[Case],
) -> (Repetitions, Vec<Problem>)
where
    Stored: AsyncFn() -> BTreeSet<String>,
{
    let api = Api::new();
    let mut log = Log::new(witness.channel, witness.auditor, witness.chains);
    let (mut tried, mut problems, mut made) = (Repetitions::default(), Vec::new(), Vec::new());
    let found = methods(witness.channel).await;
    let mut found: BTreeSet<String> = found.into_iter().map(|method| method.name).collect();
    for case in cases {
        found.remove(case.method);
        let Some(attempt) = Attempt::new(&api, case) else {
            continue;
        };
        tried.methods += 1;
        tried.labelled += usize::from(attempt.labelled);
        tried.calls += TIMES;
        let mut wrong = |contract: &'static str, what: String| {
            problems.push(Problem {
                contract,
                method: case.method.to_owned(),
                what,
            });
        };
        log.news().await;
        let before = (witness.stored)().await;
        let answers = attempt.at_once(witness.channel).await;
        let after = (witness.stored)().await;
        let Some(answer) = attempt.judge(&api, answers, &mut wrong) else {
            continue;
        };
        tried.calls += 1;
        let another = attempt.another(witness.channel).await;
        if let Some(other) = another.filter(|status| status.code() != Code::InvalidArgument) {
            wrong("repeated", format!("another request under the id: {other}"));
        }

        let mine = |event: &Event| {
            event.request_id == attempt.call_id && event.outcome() == Outcome::Success
        };
        let events: Vec<Event> = log.news().await.into_iter().filter(mine).collect();
        match events.as_slice() {
            [event] => {
                for (when, digest, stored) in [
                    ("before", &event.before_digest, &before),
                    ("after", &event.after_digest, &after),
                ] {
                    let gone = case.goes_on && when == "after";
                    if !digest.is_empty() && !gone && !stored.contains(digest) {
                        let what = format!("nothing that was stored {when} it has that digest");
                        wrong("digest", what);
                    }
                }
                if event.before_digest.is_empty() && event.after_digest.is_empty() {
                    wrong("digest", "its event has none".to_owned());
                }
            }
            events => wrong(
                "repeated",
                format!("it has {} events: {events:?}", events.len()),
            ),
        }
        if let Some(what) = attempt.times(&api, witness.channel, &answer).await {
            wrong("times", what);
        }
        made.push(Made {
            case,
            request: attempt.request,
            answer,
        });
    }
    for method in found {
        problems.push(Problem {
            contract: "repeated",
            method,
            what: "no case says how it is called".to_owned(),
        });
    }
    // Whatever happened to the things meanwhile.
    for (turn, made) in made.iter().enumerate() {
        tried.calls += 1;
        let attempt = Attempt::of(made.case, made.request.clone(), false);
        let method = api.method(made.case.method);
        let answer = attempt.call(witness.channel, turn).await;
        let answer = answer.map(|bytes| public(message::decode(method.output(), &bytes)));
        if answer.as_ref().ok() != Some(&made.answer) {
            problems.push(Problem {
                contract: "repeated",
                method: made.case.method.to_owned(),
                what: match answer {
                    Ok(answer) => format!("later {answer}, at first {}", made.answer),
                    Err(status) => format!("later {status}, at first {}", made.answer),
                },
            });
        }
    }
    (tried, problems)
}

/// A call under an id of its own.
struct Attempt<'a> {
    case: &'a Case,
    request: DynamicMessage,
    labelled: bool,
    /// What its events bear.
    call_id: String,
    token: String,
}

impl<'a> Attempt<'a> {
    /// `None` if the call can't be repeated.
    fn new(api: &Api, case: &'a Case) -> Option<Self> {
        let kind = api.method(case.method).input();
        if !message::has_request_id(&kind) {
            return None;
        }
        let mut request = message::decode(kind, &case.messages[0]);
        let holder = message::holder(&mut request, "request_id")?;
        message::set_text(holder, "request_id", &Uuid::new_v4().to_string());
        let labelled = message::set_labels(&mut request, &LABELS);
        Some(Self::of(case, request, labelled))
    }

    fn of(case: &'a Case, request: DynamicMessage, labelled: bool) -> Self {
        let Who::Guarded { allowed, .. } = &case.who else {
            panic!("{}: what changes something needs a right", case.method);
        };
        Self {
            case,
            request,
            labelled,
            call_id: format!("repeated-{}", Uuid::new_v4()),
            token: allowed.token.clone(),
        }
    }

    async fn call(&self, channel: &Channel, turn: usize) -> Result<Bytes, Status> {
        self.send(channel, message::encode_in_turn(&self.request, turn))
            .await
    }

    async fn send(&self, channel: &Channel, request: Bytes) -> Result<Bytes, Status> {
        let mut messages = self.case.messages.clone();
        messages[0] = request;
        let (method, token) = (self.case.method, Some(self.token.as_str()));
        let call = raw::call(channel, method, &messages, token, Some(&self.call_id));
        call.await
            .unwrap_or_else(|| Err(Status::deadline_exceeded("no answer")))
    }

    async fn at_once(&self, channel: &Channel) -> Vec<Result<Bytes, Status>> {
        let calls = (0..TIMES).map(|turn| self.call(channel, turn));
        futures::future::join_all(calls).await
    }

    /// The answer that all calls had, without what only the first tells.
    fn judge(
        &self,
        api: &Api,
        answers: Vec<Result<Bytes, Status>>,
        wrong: &mut impl FnMut(&'static str, String),
    ) -> Option<DynamicMessage> {
        let output = api.method(self.case.method).output();
        let refused: BTreeMap<String, usize> = answers
            .iter()
            .filter_map(|it| it.as_ref().err())
            .fold(BTreeMap::new(), |mut counts, status| {
                *counts.entry(format!("{status:?}")).or_default() += 1;
                counts
            });
        if !refused.is_empty() {
            wrong("repeated", format!("of {TIMES} calls: {refused:?}"));
        }
        let answers: Vec<DynamicMessage> = answers
            .into_iter()
            .flatten()
            .map(|bytes| message::decode(output.clone(), &bytes))
            .collect();
        let secret = |it: &&DynamicMessage| {
            SECRETS
                .iter()
                .any(|it_has| !message::text(it, it_has).is_empty())
        };
        let told = answers.iter().filter(secret).count();
        if told > 1 {
            wrong("repeated", format!("{told} answers tell the secret"));
        }
        let mut answers = answers.into_iter().map(public);
        let first = answers.next()?;
        if let Some(other) = answers.find(|it| *it != first) {
            wrong("repeated", format!("answered {first} and {other}"));
        }
        Some(first)
    }

    /// What another request under the same id is told, if it has labels that can be others.
    async fn another(&self, channel: &Channel) -> Option<Status> {
        if !self.labelled {
            return None;
        }
        let mut request = self.request.clone();
        message::set_labels(&mut request, &LABELS[1..]);
        let answer = self.send(channel, message::encode(&request)).await;
        Some(answer.err().unwrap_or_else(|| Status::ok("it is let in")))
    }

    /// What is wrong with the times that are read.
    async fn times(&self, api: &Api, channel: &Channel, answer: &DynamicMessage) -> Option<String> {
        let answered = message::resource(answer)?;
        let reader = api.reader(&api.method(self.case.method))?;
        let mut request = DynamicMessage::new(reader.input());
        for field in ["id", "org_id", "project_id"] {
            message::set_text(&mut request, field, &message::text(&answered, field));
        }
        let name = format!("{}/{}", reader.parent_service().full_name(), reader.name());
        let messages = [message::encode(&request)];
        let read = raw::call(channel, &name, &messages, Some(&self.token), None).await;
        let read = match read {
            Some(Ok(bytes)) => message::resource(&message::decode(reader.output(), &bytes))?,
            other => return Some(format!("{name}: {other:?}")),
        };
        let revision =
            |it: &DynamicMessage| it.get_field_by_name("revision").map(|it| it.into_owned());
        let same = revision(&answered) == revision(&read);
        let differs = |name: &str| {
            (same || name == "created_at")
                && answered.get_field_by_name(name) != read.get_field_by_name(name)
        };
        let times = times(&answered);
        let wrong: Vec<String> = times
            .iter()
            .filter(|name| differs(name))
            .map(|name| {
                let shown =
                    |it: &DynamicMessage| it.get_field_by_name(name).map(|it| it.to_string());
                format!(
                    "{name} answered {:?}, read {:?}",
                    shown(&answered),
                    shown(&read)
                )
            })
            .collect();
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}

/// The times of a resource.
fn times(resource: &DynamicMessage) -> Vec<String> {
    let fields = resource.fields();
    fields
        .filter(|(field, _)| match field.kind() {
            Kind::Message(kind) => kind.full_name() == "google.protobuf.Timestamp",
            _ => false,
        })
        .map(|(field, _)| field.name().to_owned())
        .collect()
}

/// An answer without its secrets.
fn public(mut answer: DynamicMessage) -> DynamicMessage {
    for secret in SECRETS {
        answer.clear_field_by_name(secret);
    }
    answer
}

/// The events that come in.
struct Log<'a> {
    client: EventServiceClient<Channel>,
    auditor: &'a Session,
    /// Each chain, and the last event of it that was read.
    read: Vec<(&'a str, u64)>,
}

impl<'a> Log<'a> {
    fn new(channel: &Channel, auditor: &'a Session, chains: &[&'a str]) -> Self {
        Self {
            client: EventServiceClient::new(channel.clone()),
            auditor,
            read: chains.iter().map(|chain| (*chain, 0)).collect(),
        }
    }

    /// What came since the last time.
    async fn news(&mut self) -> Vec<Event> {
        let mut news = Vec::new();
        for (chain, last) in &mut self.read {
            loop {
                let request = ListEventsRequest {
                    org_id: (*chain).to_owned(),
                    after_sequence: *last,
                    page_size: 1000,
                    ..Default::default()
                };
                let request = self.auditor.request(request);
                // Not to be read as long as the organization is not there.
                let Ok(page) = self.client.list_events(request).await else {
                    break;
                };
                let page = page.into_inner();
                *last = page.events.last().map_or(*last, |event| event.sequence);
                let done = page.next_page_token.is_empty();
                news.extend(page.events);
                if done {
                    break;
                }
            }
        }
        news
    }
}
