//! The contracts of every list: it goes on only from a page of its own, and what is asked for without a project is the
//! token's.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::message::{self, Api};
use super::problem::Problem;
use super::{Case, Who, raw};
use crate::session::Session;

/// A list of the API.
struct List<'a> {
    method: MethodDescriptor,
    name: &'static str,
    allowed: &'a Session,
    request: DynamicMessage,
}

impl<'a> List<'a> {
    /// Those of `cases` that are lists.
    fn all(api: &Api, cases: &'a [Case]) -> Vec<Self> {
        let lists = cases.iter().filter_map(|case| {
            let method = api.method(case.method);
            let paged = method.input().get_field_by_name("page_token").is_some();
            let Who::Guarded { allowed, .. } = &case.who else {
                return None;
            };
            paged.then(|| Self {
                request: message::decode(method.input(), &case.messages[0]),
                method,
                name: case.method,
                allowed,
            })
        });
        lists.collect()
    }

    async fn call(
        &self,
        channel: &Channel,
        who: &Session,
        request: &DynamicMessage,
    ) -> Result<DynamicMessage, Status> {
        let messages: [Bytes; 1] = [message::encode(request)];
        let answer = raw::call(channel, self.name, &messages, Some(&who.token), None).await;
        let answer = answer.unwrap_or_else(|| Err(Status::deadline_exceeded("no answer")))?;
        Ok(message::decode(self.method.output(), &answer))
    }

    /// What somebody is told for this page token.
    async fn page(
        &self,
        channel: &Channel,
        who: &Session,
        token: &str,
    ) -> Result<DynamicMessage, Status> {
        let mut request = self.request.clone();
        request.set_field_by_name("page_size", Value::U32(1));
        message::set_text(&mut request, "page_token", token);
        self.call(channel, who, &request).await
    }
}

/// Tries the page tokens of every list on every other, and on the same one of another tenant (`own`). What whoever is
/// let in by a case has only one of, the operator lists. Answers the number of lists and of calls, and what is wrong.
pub async fn pages(
    channel: &Channel,
    cases: &[Case],
    own: &[Case],
    operator: &Session,
) -> ((usize, usize), Vec<Problem>) {
    let api = Api::new();
    let (lists, theirs) = (List::all(&api, cases), List::all(&api, own));
    let (mut calls, mut problems) = (0, Vec::new());
    let mut wrong = |list: &List<'_>, what: String| {
        problems.push(Problem {
            contract: "pages",
            method: list.name.to_owned(),
            what,
        });
    };
    for list in &lists {
        // A tenant has one organization.
        let (mut who, mut token) = (list.allowed, String::new());
        for lister in [list.allowed, operator] {
            who = lister;
            match list.page(channel, who, "").await {
                Ok(page) => token = message::text(&page, "next_page_token"),
                Err(status) => wrong(list, format!("the first page: {status}")),
            }
            if !token.is_empty() {
                break;
            }
        }
        if token.is_empty() {
            wrong(list, "there are not two things to list".to_owned());
            continue;
        }
        if let Err(status) = list.page(channel, who, &token).await {
            wrong(list, format!("its own second page: {status}"));
        }
        let same = theirs
            .iter()
            .filter(|it| it.name == list.name && it.request != list.request);
        let others = lists.iter().filter(|it| it.name != list.name);
        calls += 3;
        for other in others.chain(same) {
            calls += 1;
            let told = other.page(channel, other.allowed, &token).await;
            if told.as_ref().err().map(Status::code) != Some(Code::InvalidArgument) {
                wrong(
                    other,
                    format!("a page token of {} is taken: {told:?}", list.name),
                );
            }
        }
        let told = list.page(channel, who, "bm9uZQ").await;
        if told.as_ref().err().map(Status::code) != Some(Code::InvalidArgument) {
            wrong(
                list,
                format!("what is no page token of it is taken: {told:?}"),
            );
        }
    }
    ((lists.len(), calls), problems)
}

/// Somebody of the tenant whose token is for one project.
pub struct Narrow<'a> {
    /// Its session.
    pub session: &'a Session,
    /// The project.
    pub project: &'a str,
}

/// Lists whatever is of projects with tokens for one, naming the organization but not the project: that is the token's.
/// `here` is of the project that things of the cases are in, `elsewhere` of another one.
pub async fn narrowed(
    channel: &Channel,
    cases: &[Case],
    here: Narrow<'_>,
    elsewhere: Narrow<'_>,
) -> (usize, Vec<Problem>) {
    let api = Api::new();
    let (mut tried, mut problems) = (0, Vec::new());
    for list in List::all(&api, cases) {
        let mut open = list.request.clone();
        if !message::set_text(&mut open, "project_id", "") {
            continue;
        }
        tried += 1;
        for narrow in [&here, &elsewhere] {
            let mut named = open.clone();
            message::set_text(&mut named, "project_id", narrow.project);
            let by_token = list.call(channel, narrow.session, &open).await;
            let by_name = list.call(channel, narrow.session, &named).await;
            let (by_token, by_name) = match (by_token, by_name) {
                (Ok(by_token), Ok(by_name)) => (ids(&by_token), ids(&by_name)),
                refused => (BTreeSet::from([format!("{refused:?}")]), BTreeSet::new()),
            };
            let empty = by_name.is_empty() && narrow.project == here.project;
            if by_token != by_name || empty {
                problems.push(Problem {
                    contract: "narrowed",
                    method: list.name.to_owned(),
                    what: format!(
                        "with a token for project {}, without naming it: {by_token:?}; naming it: {by_name:?}",
                        narrow.project
                    ),
                });
            }
        }
    }
    (tried, problems)
}

fn ids(page: &DynamicMessage) -> BTreeSet<String> {
    page.fields()
        .filter_map(|(_, value)| value.as_list())
        .flatten()
        .filter_map(Value::as_message)
        .map(|item| message::text(item, "id"))
        .collect()
}
