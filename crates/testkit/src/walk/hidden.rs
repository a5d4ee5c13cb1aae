//! The contract that what is hidden reads as what is absent, word for word: whoever lacks the right to something is
//! told the same of it as of what there is not, however its id is spelled.
//!
//! For each RPC, each place of its request where a resource is named, each way to spell that, and each caller without the
//! right, two calls are made: one names what there is, the other, spelled alike, what there is not. Their answers must be
//! the same, but for the name that the caller itself gave.

use std::collections::BTreeMap;

use futures::StreamExt;
use prost_reflect::DynamicMessage;
use tonic::transport::Channel;
use uuid::Uuid;

use super::message::{self, Api, Place, references};
use super::problem::Problem;
use super::{Case, Refused, Who, methods, raw};
use crate::session::Session;

const CONTRACT: &str = "hidden";
/// At the same time: for speed.
const AT_ONCE: usize = 16;
const BY_NAME: &str = "by its name";

/// Somebody with a good token who has no right to the things of the cases.
#[derive(Clone)]
pub struct Outsider {
    /// For the message: `another tenant's administrator`.
    pub who: &'static str,
    /// Its session.
    pub session: Session,
    /// What is no secret to it: its own organization, its own host, and as `project/ID` a project of its own, which a
    /// request that says no organization means.
    pub knows: Vec<String>,
}

impl Outsider {
    fn knows(&self, value: &str) -> bool {
        self.knows.iter().any(|known| {
            let scope = format!("org/{known}");
            value == known || value == scope || value.starts_with(&format!("{scope}/"))
        })
    }
}

/// Another name of something that a case names.
#[derive(Clone, Debug)]
pub struct Alias {
    value: String,
    how: &'static str,
    name: String,
}

impl Alias {
    /// What the cases call `value` is called `name` too: `by its MAC address`.
    pub fn new(value: &str, how: &'static str, name: &str) -> Self {
        Self {
            value: value.to_owned(),
            how,
            name: name.to_owned(),
        }
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    /// RPCs that name something.
    pub methods: usize,
    /// Places of their requests where they do.
    pub places: usize,
    /// Spellings of all of those.
    pub spellings: usize,
    /// Kinds of callers without the right.
    pub outsiders: usize,
    /// Calls.
    pub calls: usize,
}

/// A pair of calls that must be answered alike.
struct Pair<'a> {
    case: &'a Case,
    who: &'static str,
    token: String,
    place: Place,
    how: &'static str,
    /// The requests, and what of the caller's own words is in each.
    hidden: (DynamicMessage, Given),
    absent: (DynamicMessage, Given),
}

/// A name as the caller wrote it.
#[derive(Clone)]
struct Given {
    whole: String,
    /// Without what is not of the name itself.
    name: String,
}

impl Given {
    /// The text without the caller's own words: all that was given, the name in it, and the parts of that.
    fn left_out(&self, text: &str) -> String {
        let mut text = without(text, &self.whole, "{given}");
        text = without(&text, &self.name, "{name}");
        if self.name.contains('/') {
            for part in self.name.split('/') {
                text = without(&text, part, "{part}");
            }
        }
        text
    }

    fn plain(name: String) -> Self {
        Self {
            whole: name.clone(),
            name,
        }
    }
}

/// What there is that must look absent.
pub struct Secrets<'a> {
    /// Calls about one tenant's things.
    pub cases: &'a [Case],
    /// Its organization and project, to which names of things belong.
    pub scope: (&'a str, &'a str),
    /// What else things of the cases are called.
    pub aliases: &'a [Alias],
    /// Whoever has no right to them.
    pub outsiders: &'a [Outsider],
    /// The administrator of another tenant, and calls about its own things: in these, too, one of the first's is named.
    pub neighbour: (&'a Session, &'a [Case]),
}

/// Tries every RPC of the server behind `channel` that names something. Answers what is wrong.
pub async fn hidden(channel: &Channel, secrets: &Secrets<'_>) -> (Tried, Vec<Problem>) {
    let Secrets {
        cases,
        scope: (org, project),
        aliases,
        outsiders,
        neighbour: (neighbour, own),
    } = *secrets;
    let api = Api::new();
    let names = names(channel, &api, cases).await;
    let mut tried = Tried {
        outsiders: outsiders.len() + 1,
        ..Tried::default()
    };
    let mut pairs = Vec::new();
    let mut problems = Vec::new();
    for method in methods(channel).await {
        let Some(case) = cases.iter().find(|case| case.method == method.name) else {
            problems.push(problem(&method.name, "no case says who may call it"));
            continue;
        };
        let before = pairs.len();
        let (refused, open) = lacking(channel, case, outsiders).await;
        tried.calls += outsiders.len();
        problems.extend(open.iter().map(|who| problem(case.method, who)));
        let kind = api.method(case.method).input();
        let request = message::decode(kind.clone(), &case.messages[0]);
        for (place, value) in references(&request) {
            let mut spellings = spellings(&value);
            // Names belong to a project; without one they would be of the caller's own.
            let scoped = place.own_field() == Some("id")
                && request.get_field_by_name("org_id").is_some()
                && request.get_field_by_name("project_id").is_some();
            let of_the_caller = place.own_field() == Some("project_id")
                && request.get_field_by_name("org_id").is_none();
            let named = names.get(&value).filter(|name| **name != value && scoped);
            let by_name = named.map(|name| (BY_NAME, name));
            let also = aliases.iter().filter(|alias| alias.value == value);
            let also = also.map(|alias| (alias.how, &alias.name));
            for (how, name) in by_name.into_iter().chain(also) {
                spellings.push((
                    how,
                    Given::plain(name.clone()),
                    Given::plain(absent_like(name)),
                ));
            }
            tried.places += 1;
            tried.spellings += spellings.len();
            let ours = own.iter().find(|it| it.method == case.method);
            let mixed = ours
                .map(|it| message::decode(kind.clone(), &it.messages[0]))
                .filter(|_| {
                    !matches!(
                        place.own_field(),
                        Some("id" | "org_id" | "project_id" | "node")
                    )
                })
                .filter(|own| {
                    place
                        .read(own)
                        .is_some_and(|it| !it.is_empty() && it != value)
                });
            for (how, hidden, absent) in spellings {
                let ask = |given: &Given| {
                    let mut request = place.with(&request, &given.whole);
                    if how == BY_NAME {
                        message::set_text(&mut request, "org_id", org);
                        message::set_text(&mut request, "project_id", project);
                    }
                    request
                };
                for outsider in &refused {
                    let own = of_the_caller && outsider.knows(&format!("project/{value}"));
                    if own || outsider.knows(&value) {
                        continue;
                    }
                    pairs.push(Pair {
                        case,
                        who: outsider.who,
                        token: outsider.session.token.clone(),
                        place: place.clone(),
                        how,
                        hidden: (ask(&hidden), hidden.clone()),
                        absent: (ask(&absent), absent.clone()),
                    });
                }
                if let Some(own) = &mixed {
                    let fresh = |given: &Given| {
                        let mut request = place.with(own, &given.whole);
                        if request.get_field_by_name("name").is_some() {
                            message::set_text(
                                &mut request,
                                "name",
                                &format!("n{}", Uuid::new_v4()),
                            );
                        }
                        request
                    };
                    pairs.push(Pair {
                        case,
                        who: "another tenant's administrator for something of its own",
                        token: neighbour.token.clone(),
                        place: place.clone(),
                        how,
                        hidden: (fresh(&hidden), hidden.clone()),
                        absent: (fresh(&absent), absent.clone()),
                    });
                }
            }
        }
        tried.methods += usize::from(pairs.len() > before);
    }
    tried.calls += 2 * pairs.len();
    let found = futures::stream::iter(pairs)
        .map(|pair| async move { difference(channel, &pair).await })
        .buffered(AT_ONCE)
        .filter_map(|found| async { found });
    problems.extend(found.collect::<Vec<_>>().await);
    (tried, problems)
}

fn problem(method: &str, what: &str) -> Problem {
    Problem {
        contract: CONTRACT,
        method: method.to_owned(),
        what: what.to_owned(),
    }
}

/// Who is refused, of those who lack the right by the case itself and of all outsiders; and whom it lets in.
async fn lacking(
    channel: &Channel,
    case: &Case,
    outsiders: &[Outsider],
) -> (Vec<Outsider>, Vec<String>) {
    let Who::Guarded { refused, .. } = &case.who else {
        return (Vec::new(), Vec::new());
    };
    let by = |outsider: &Outsider, it: &Refused| {
        it.session.principal_id == outsider.session.principal_id
    };
    // Not tried beforehand: among others there are those who may do other things.
    let known = refused
        .iter()
        .filter(|it| !outsiders.iter().any(|outsider| by(outsider, it)))
        .map(|it| Outsider {
            who: it.who,
            session: it.session.clone(),
            knows: Vec::new(),
        });
    let (mut lacking, mut open) = (Vec::from_iter(known), Vec::new());
    for outsider in outsiders {
        let by_case = refused.iter().any(|it| by(outsider, it));
        let token = Some(outsider.session.token.as_str());
        match raw::call(channel, case.method, &case.messages, token, None).await {
            Some(Err(_)) => lacking.push(outsider.clone()),
            _ if by_case => open.push(format!("{} is let in", outsider.who)),
            // It has the right: what it may see need not look absent.
            _ => {}
        }
    }
    (lacking, open)
}

/// How a name can be written: what that is called, and so what there is and what there is not.
fn spellings(value: &str) -> Vec<(&'static str, Given, Given)> {
    let absent = absent_like(value);
    let mut found = Vec::new();
    let mut add = |how: &'static str, write: &dyn Fn(&str) -> (String, String)| {
        let given = |value: &str| {
            let (whole, name) = write(value);
            Given { whole, name }
        };
        let (hidden, absent) = (given(value), given(&absent));
        if hidden.whole != absent.whole {
            found.push((how, hidden, absent));
        }
    };
    let around = |before: &'static str, after: &'static str| {
        move |text: &str| (format!("{before}{text}{after}"), text.to_owned())
    };
    let plain = |text: String| (text.clone(), text);
    add("as it is", &|text| plain(text.to_owned()));
    if value.to_uppercase() != value {
        add("in upper case", &|text| plain(text.to_uppercase()));
    }
    if Uuid::try_parse(value).is_ok() {
        let uuid = |text: &str| Uuid::try_parse(text).expect("what is like a UUID is one");
        add("without dashes", &|text| {
            plain(uuid(text).simple().to_string())
        });
        add("without dashes, in upper case", &|text| {
            plain(uuid(text).simple().to_string().to_uppercase())
        });
        add("in braces", &|text| plain(uuid(text).braced().to_string()));
        add("as a URN", &|text| plain(uuid(text).urn().to_string()));
    }
    add("after a space", &around(" ", ""));
    add("before a space", &around("", " "));
    add("before a line's end", &around("", "\n"));
    add("in quotes", &around("'", "'"));
    add("after a slash", &around("x/", ""));
    add("before a slash", &around("", "/"));
    add("too long", &around("", "0"));
    if value.len() > 4 {
        add("too short", &|text| {
            let end = text.char_indices().last().map_or(0, |(at, _)| at);
            plain(text[..end].to_owned())
        });
    }
    found
}

/// A name that nothing has, of the same form as this one: letters where it has letters, digits where it has digits.
fn absent_like(value: &str) -> String {
    let hex = Uuid::try_parse(value).is_ok();
    if value.contains('/') {
        let parts = value.split('/').map(|part| match part {
            "org" | "project" | "system" => part.to_owned(),
            part => absent_like(part),
        });
        return parts.collect::<Vec<_>>().join("/");
    }
    let random = Uuid::new_v4();
    let mut random = random.as_bytes().iter().cycle();
    let mut one_of = |these: &[u8]| {
        let at = *random.next().expect("it goes round");
        char::from(these[usize::from(at) % these.len()])
    };
    value
        .char_indices()
        .map(|(at, c)| match c {
            // Of the same version and variant (RFC 9562).
            c if hex && (at == 14 || at == 19) => c,
            'a'..='f' if hex => one_of(b"abcdef"),
            // Of such letters no word is made that a message could have by itself.
            'a'..='z' => one_of(b"jqvxz"),
            'A'..='Z' => one_of(b"JQVXZ"),
            '0'..='9' => one_of(b"0123456789"),
            other => other,
        })
        .collect()
}

/// The names of what can be listed, by their ids.
async fn names(channel: &Channel, api: &Api, cases: &[Case]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for case in cases {
        let Who::Guarded { allowed, .. } = &case.who else {
            continue;
        };
        let output = api.method(case.method).output();
        if output.get_field_by_name("next_page_token").is_none() {
            continue;
        }
        let token = Some(allowed.token.as_str());
        let answer = raw::call(channel, case.method, &case.messages, token, None).await;
        let Some(Ok(bytes)) = answer else {
            continue;
        };
        let answer = message::decode(output, &bytes);
        for (_, value) in answer.fields() {
            for item in value.as_list().unwrap_or_default() {
                if let Some(item) = item.as_message() {
                    names.insert(message::text(item, "id"), message::text(item, "name"));
                }
            }
        }
    }
    names.remove("");
    names
}

/// Puts `instead` where `word` stands in a text, but not where it is a part of another word.
fn without(text: &str, word: &str, instead: &str) -> String {
    let inner = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (begins, ends) = (inner(word.chars().next()), inner(word.chars().last()));
    let mut found = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word).filter(|_| !word.is_empty()) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let last = before.chars().last().or(found.chars().last());
        let joined = (begins && inner(last)) || (ends && inner(after.chars().next()));
        found.push_str(before);
        found.push_str(if joined { word } else { instead });
        rest = after;
    }
    found + rest
}

/// The texts in encoded details, in order of the alphabet: those of a map are in any.
fn texts(details: &[u8], plain: impl Fn(&str) -> String) -> Vec<String> {
    let details = String::from_utf8_lossy(details);
    let texts = details.split(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER);
    let mut texts: Vec<String> = texts.map(plain).collect();
    texts.sort();
    texts
}

/// What is answered, without the caller's own words.
async fn answer(
    channel: &Channel,
    pair: &Pair<'_>,
    (request, given): &(DynamicMessage, Given),
) -> String {
    let mut messages = pair.case.messages.clone();
    messages[0] = message::encode(request);
    let token = Some(pair.token.as_str());
    let plain = |text: &str| given.left_out(text);
    match raw::call(channel, pair.case.method, &messages, token, None).await {
        None => "no answer".to_owned(),
        // What it holds is another matter: whether something is in it is this one.
        Some(Ok(answer)) if answer.is_empty() => "OK: nothing".to_owned(),
        Some(Ok(_)) => "OK".to_owned(),
        Some(Err(status)) => format!(
            "{:?}: {} [{}]",
            status.code(),
            plain(status.message()),
            texts(status.details(), plain).join(" ")
        ),
    }
}

async fn difference(channel: &Channel, pair: &Pair<'_>) -> Option<Problem> {
    let hidden = answer(channel, pair, &pair.hidden).await;
    let absent = answer(channel, pair, &pair.absent).await;
    (hidden != absent).then(|| {
        let what = format!(
            "{} {} ({:?}), {}: what is hidden reads '{hidden}', what is absent '{absent}'",
            pair.place, pair.how, pair.hidden.1.whole, pair.who
        );
        problem(pair.case.method, &what)
    })
}
