//! What every noun of the command line does alike. A noun is its columns, its words and its flags; here is what is
//! done with them.
//!
//! ```text
//!  Verbs<N>    create · get · list · update · delete, and what else N can do
//!   └─ Whole    how it is made, what else it can do; a noun that is made otherwise has verbs of its own
//!   └─ Noun     what it is: columns, words, requests
//!       └─ Flags    what a verb takes, and the request that follows from it
//!  Desk        the one who carries a verb out: finds by name, changes once, asks before removing, prints
//! ```

use std::collections::HashMap;
use std::marker::PhantomData;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use futures::{StreamExt, TryStreamExt};
use photon_client::call::{Call, Carries, Change, List, Named, Of, Resource, Unary};
use serde_json::Value;
use tonic::Code;

use crate::commands::{confirm, present};
use crate::completion::names;
use crate::error::Failure;
use crate::output::{Column, Output, Shape, has_field, to_rows};
use crate::session::Session;

/// What a verb takes on the command line, and the request that follows from it. Scope and request id are filled in by
/// who sends it.
pub trait Flags: Args {
    /// The request.
    type Request: Call;

    /// Reads what files it names and finds what it refers to.
    async fn request(self, desk: &Desk<'_>) -> Result<Self::Request, Failure>;
}

/// What the verbs of a noun say of themselves in `--help`.
pub struct Words {
    /// What one of them is called: `VPC`.
    pub noun: &'static str,
    pub create: &'static str,
    pub get: &'static str,
    pub list: &'static str,
    pub update: &'static str,
    pub delete: &'static str,
    /// How one is named on the command line, and how that is explained.
    pub named: (&'static str, &'static str),
}

/// Words that most nouns have.
pub const USUAL: Words = Words {
    noun: "resource",
    create: "Make one",
    get: "Show one",
    list: "List the project's",
    update: "Change name, description or labels",
    delete: "Remove one",
    named: ("NAME", "Name or id"),
};

/// A noun that is shown, listed, changed and removed.
pub trait Noun: 'static {
    /// What it is in the API.
    type Resource: Named;
    type Get: Of<Answer: Carries<Resource = Self::Resource>>;
    type Filter: Flags<Request: List<Item = Self::Resource>>;
    type Update: Flags<Request: Of + Change<Answer: Carries<Resource = Self::Resource>>>;
    type Delete: Of + Change;

    const WORDS: Words;
    const COLUMNS: &'static [Column];

    /// What is asked before one is removed.
    fn question(resource: &Self::Resource) -> String {
        format!("Remove {} {}?", Self::WORDS.noun, resource.name())
    }

    /// Adds to rows of a table what the API does not answer with them: names for ids, mostly. What cannot be had is left out.
    async fn dress(_: &Desk<'_>, _: &mut [Value]) {}

    /// Prints one.
    async fn print(desk: &Desk<'_>, resource: &Self::Resource) -> Result<(), Failure> {
        desk.output.one(resource)
    }

    /// What is said when it is gone.
    fn gone(name: &str) -> String {
        let mut noun = Self::WORDS.noun.to_owned();
        // As a sentence begins.
        if let Some(first) = noun.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        format!("{noun} {name} is gone.")
    }
}

/// A noun that one request makes, and what else it can do.
pub trait Whole: Noun {
    type New: Flags<Request: Change<Answer: Carries<Resource = Self::Resource>>>;
    type Actions: Action;
    type Removal: Removing;
}

/// How one of a noun is removed: [`Removal`], but for what holds others.
pub trait Removing: Args {
    /// Removes it, after asking.
    async fn remove(self, once: &Once, desk: &Desk<'_>) -> Result<(), Failure>;
}

/// What else a noun can do, as subcommands.
pub trait Action: Subcommand {
    /// Carries one out.
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure>;
}

/// Flags whose values are the request's fields as they are, each named with how it is made of them.
macro_rules! plain_request {
    ($flags:ident as $request:ident, |$this:ident| { $($field:ident: $value:expr),* $(,)? }) => {
        impl $crate::noun::Flags for $flags {
            type Request = $request;

            async fn request(
                self,
                _: &$crate::noun::Desk<'_>,
            ) -> Result<$request, $crate::error::Failure> {
                let $this = self;
                Ok($request { $($field: $value,)* ..Default::default() })
            }
        }
    };
}
pub(crate) use plain_request;

/// The verbs of a whole noun.
#[derive(Subcommand)]
pub enum Verbs<N: Whole> {
    #[command(about = N::WORDS.create)]
    Create(Changing<N::New>),
    #[command(about = N::WORDS.get, visible_alias = "show")]
    Get(One<N>),
    #[command(about = N::WORDS.list, visible_alias = "ls")]
    List(Listed<N::Filter>),
    #[command(about = N::WORDS.update)]
    Update(Changing<About<N>>),
    #[command(flatten)]
    Actions(N::Actions),
    #[command(about = N::WORDS.delete, visible_alias = "rm")]
    Delete(Changing<N::Removal>),
}

/// What a noun without further verbs can do.
pub enum NoMore {}

impl FromArgMatches for NoMore {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand))
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        match *self {}
    }
}

impl Subcommand for NoMore {
    fn augment_subcommands(command: Command) -> Command {
        command
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command
    }

    fn has_subcommand(_: &str) -> bool {
        false
    }
}

impl Action for NoMore {
    async fn carry_out(self, _: &Desk<'_>) -> Result<(), Failure> {
        match self {}
    }
}

/// What a list is of, and how it is printed.
#[derive(Args)]
pub struct Listed<F: Args> {
    #[command(flatten)]
    pub filter: F,
    #[command(flatten)]
    pub shape: Shape,
}

/// The flags of a command that changes something.
#[derive(Args)]
pub struct Changing<F: Args> {
    #[command(flatten)]
    pub flags: F,
    #[command(flatten)]
    pub once: Once,
}

/// How a changing command is made to count once.
#[derive(Args, Clone, Default)]
pub struct Once {
    /// Makes a repeated command harmless: under the same id it counts once, for a day, and answers the same.
    ///
    /// Where the command changes or removes a name, give the id of what it is about, not the name.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl Once {
    /// The id of the request: the given one, else one of its own, so that a try whose answer was lost can be repeated.
    pub fn id(&self) -> String {
        self.request_id
            .clone()
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
    }

    /// The same for a part of what the command does.
    pub fn step(&self, part: &str) -> Self {
        let request_id = self.request_id.as_ref().map(|id| format!("{id}.{part}"));
        Self { request_id }
    }

    /// Whether the command may have been given before.
    pub fn is_given(&self) -> bool {
        self.request_id.is_some()
    }
}

/// One of a noun.
#[derive(Args)]
pub struct One<N: Noun> {
    #[arg(
        id = "which",
        value_name = N::WORDS.named.0,
        help = N::WORDS.named.1,
        add = names::<N>()
    )]
    pub name: String,
    #[arg(skip)]
    noun: PhantomData<fn() -> N>,
}

/// One of a noun, and what shall be otherwise.
#[derive(Args)]
pub struct About<N: Noun> {
    #[arg(
        id = "which",
        value_name = N::WORDS.named.0,
        help = N::WORDS.named.1,
        add = names::<N>()
    )]
    name: String,
    #[command(flatten)]
    changes: N::Update,
}

/// One of a noun, to remove.
#[derive(Args)]
pub struct Removal<N: Noun> {
    #[arg(
        id = "which",
        value_name = N::WORDS.named.0,
        help = N::WORDS.named.1,
        add = names::<N>()
    )]
    pub name: String,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    #[arg(skip)]
    noun: PhantomData<fn() -> N>,
}

impl<N: Noun> Removal<N> {
    /// The same, of which the question has been answered.
    pub fn agreed(self) -> Self {
        Self { yes: true, ..self }
    }
}

impl<N: Noun> Removing for Removal<N> {
    async fn remove(self, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
        let id = match desk.find::<N::Get>(N::WORDS.noun, &self.name).await {
            Ok(found) => {
                confirm(self.yes, &N::question(&found))?;
                found.id().to_owned()
            }
            Err(failure) => may_be_gone(failure, once, &self.name)?,
        };
        desk.change(once, N::Delete::of(id)).await?;
        desk.output.done(&N::gone(&self.name))
    }
}

/// A list that nothing is chosen from.
#[derive(Args)]
pub struct All<R: List + Send + Sync> {
    #[arg(skip)]
    request: PhantomData<fn() -> R>,
}

impl<R: List + Send + Sync> Flags for All<R> {
    type Request = R;

    async fn request(self, _: &Desk<'_>) -> Result<R, Failure> {
        Ok(R::default())
    }
}

/// Carries commands out.
pub struct Desk<'a> {
    pub session: &'a Session,
    pub output: &'a Output,
}

impl Desk<'_> {
    /// Carries a verb of a noun out.
    pub async fn run<N: Whole>(&self, verb: Verbs<N>) -> Result<(), Failure> {
        match verb {
            Verbs::Create(new) => {
                let request = new.flags.request(self).await?;
                N::print(self, &self.make(&new.once, request).await?).await
            }
            Verbs::Get(one) => self.show(one).await,
            Verbs::List(list) => self.list::<N>(list).await,
            Verbs::Update(change) => self.update(change).await,
            Verbs::Actions(action) => action.carry_out(self).await,
            Verbs::Delete(Changing { flags, once }) => flags.remove(&once, self).await,
        }
    }

    /// Shows one.
    pub async fn show<N: Noun>(&self, one: One<N>) -> Result<(), Failure> {
        let found = self.find::<N::Get>(N::WORDS.noun, &one.name).await?;
        N::print(self, &found).await
    }

    /// Lists those that are wanted.
    pub async fn list<N: Noun>(&self, list: Listed<N::Filter>) -> Result<(), Failure> {
        let request = list.filter.request(self).await?;
        let found = self.first(request, list.shape.enough()).await?;
        let mut rows = to_rows(&found)?;
        if self.output.has_columns() && !rows.is_empty() {
            N::dress(self, &mut rows).await;
        }
        self.print_rows::<N::Resource>(rows, N::COLUMNS, &list.shape)
    }

    /// Changes one.
    pub async fn update<N: Noun>(&self, change: Changing<About<N>>) -> Result<(), Failure> {
        let About { name, changes } = change.flags;
        let mut request = changes.request(self).await?;
        *request.id_mut() = self.id_of::<N>(&name, &change.once).await?;
        N::print(self, &self.make(&change.once, request).await?).await
    }

    /// The id of what has this name or id.
    pub async fn id_of<N: Noun>(&self, name: &str, once: &Once) -> Result<String, Failure> {
        match self.find::<N::Get>(N::WORDS.noun, name).await {
            Ok(found) => Ok(found.id().to_owned()),
            Err(failure) => may_be_gone(failure, once, name),
        }
    }

    /// What has this name or id.
    pub async fn find<G>(
        &self,
        noun: &str,
        name: &str,
    ) -> Result<<G::Answer as Carries>::Resource, Failure>
    where
        G: Of<Answer: Carries>,
    {
        let answer = self.call(G::of(name)).await?;
        present(answer.resource(), noun)
    }

    /// Calls about the organization and project that the command is about.
    pub async fn call<R: Unary>(&self, request: R) -> Result<R::Answer, Failure> {
        let session = self.session;
        let request = request.within(&session.org, &session.project);
        Ok(session.call(request).await?)
    }

    /// Changes something, once.
    pub async fn change<R: Change>(
        &self,
        once: &Once,
        mut request: R,
    ) -> Result<R::Answer, Failure> {
        *request.request_id_mut() = once.id();
        self.call(request).await
    }

    /// Changes something, once; the thing as it is then.
    pub async fn make<R>(
        &self,
        once: &Once,
        request: R,
    ) -> Result<<R::Answer as Carries>::Resource, Failure>
    where
        R: Change<Answer: Carries>,
    {
        let answer = self.change(once, request).await?;
        present(answer.resource(), "result")
    }

    /// All items of a list.
    pub async fn all<R: List>(&self, request: R) -> Result<Vec<R::Item>, Failure> {
        self.first(request, usize::MAX).await
    }

    /// The first items of a list, so many at the most.
    pub async fn first<R: List>(&self, request: R, most: usize) -> Result<Vec<R::Item>, Failure> {
        let session = self.session;
        let asked = request.within(&session.org, &session.project);
        Ok(session.list(asked).take(most).try_collect().await?)
    }

    /// Names by ids, of all that such a list has; nothing where it cannot be had.
    pub async fn names<R: List<Item: Named>>(&self) -> HashMap<String, String> {
        let found = self.all(R::default()).await.unwrap_or_default();
        found
            .into_iter()
            .map(|one| (one.id().to_owned(), one.name().to_owned()))
            .collect()
    }

    /// Prints all items of a list.
    pub async fn print_all<R>(
        &self,
        request: R,
        columns: &[Column],
        shape: &Shape,
    ) -> Result<(), Failure>
    where
        R: List<Item: Resource>,
    {
        let found = self.first(request, shape.enough()).await?;
        self.print_rows::<R::Item>(to_rows(&found)?, columns, shape)
    }

    /// Prints rows of a kind. Where several projects are looked at, it is said of each which it is of.
    pub fn print_rows<R: Resource>(
        &self,
        rows: Vec<Value>,
        columns: &[Column],
        shape: &Shape,
    ) -> Result<(), Failure> {
        let mut columns = columns.to_vec();
        let of_many = self.session.project.is_empty() && has_field(R::NAME, "project_id");
        if of_many && columns.iter().all(|(_, path)| *path != "project_id") {
            let after = columns.iter().position(|(head, _)| *head == "NAME");
            columns.insert(after.map_or(0, |at| at + 1), ("PROJECT", "project_id"));
        }
        self.output.rows(rows, &columns, shape, Some(R::NAME))
    }
}

/// Puts names in the place of ids, in a field of every row.
pub fn name_ids(rows: &mut [Value], field: &str, names: &HashMap<String, String>) {
    for row in rows {
        if let Some(name) = row[field].as_str().and_then(|id| names.get(id)) {
            row[field] = name.as_str().into();
        }
    }
}

/// What a command given once more is about may have another name by now, or be gone: then the server, which knows what
/// it answered, is asked by what was given, which may be the id.
pub fn may_be_gone(failure: Failure, once: &Once, name: &str) -> Result<String, Failure> {
    match failure.code() {
        Some(Code::NotFound) if once.is_given() => Ok(name.to_owned()),
        _ => Err(failure),
    }
}
