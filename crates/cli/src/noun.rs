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

use std::marker::PhantomData;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use photon_client::call::{Call, Carries, Change, List, Named, Of, Resource, Unary};
use tonic::Code;

use crate::commands::{confirm, present};
use crate::error::Failure;
use crate::output::{Column, Output};
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
pub trait Noun {
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
    #[command(about = N::WORDS.get)]
    Get(One<N>),
    #[command(about = N::WORDS.list)]
    List(N::Filter),
    #[command(about = N::WORDS.update)]
    Update(Changing<About<N>>),
    #[command(flatten)]
    Actions(N::Actions),
    #[command(about = N::WORDS.delete)]
    Delete(Changing<Removal<N>>),
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

    /// Whether the command may have been given before.
    pub fn is_given(&self) -> bool {
        self.request_id.is_some()
    }
}

/// What a further verb is about.
#[derive(Args)]
pub struct ByName {
    /// Name or id.
    pub name: String,
}

/// One of a noun.
#[derive(Args)]
pub struct One<N: Noun> {
    #[arg(id = "which", value_name = N::WORDS.named.0, help = N::WORDS.named.1)]
    name: String,
    #[arg(skip)]
    noun: PhantomData<fn() -> N>,
}

/// One of a noun, and what shall be otherwise.
#[derive(Args)]
pub struct About<N: Noun> {
    #[arg(id = "which", value_name = N::WORDS.named.0, help = N::WORDS.named.1)]
    name: String,
    #[command(flatten)]
    changes: N::Update,
}

/// One of a noun, to remove.
#[derive(Args)]
pub struct Removal<N: Noun> {
    #[arg(id = "which", value_name = N::WORDS.named.0, help = N::WORDS.named.1)]
    name: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[arg(skip)]
    noun: PhantomData<fn() -> N>,
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
                self.output.one(&self.make(&new.once, request).await?)
            }
            Verbs::Get(one) => self.show(one).await,
            Verbs::List(filter) => self.list::<N>(filter).await,
            Verbs::Update(change) => self.update(change).await,
            Verbs::Actions(action) => action.carry_out(self).await,
            Verbs::Delete(removal) => self.remove(removal).await,
        }
    }

    /// Shows one.
    pub async fn show<N: Noun>(&self, one: One<N>) -> Result<(), Failure> {
        let found = self.find::<N::Get>(N::WORDS.noun, &one.name).await?;
        self.output.one(&found)
    }

    /// Lists those that are wanted.
    pub async fn list<N: Noun>(&self, filter: N::Filter) -> Result<(), Failure> {
        self.print_all(filter.request(self).await?, N::COLUMNS)
            .await
    }

    /// Changes one.
    pub async fn update<N: Noun>(&self, change: Changing<About<N>>) -> Result<(), Failure> {
        let About { name, changes } = change.flags;
        let mut request = changes.request(self).await?;
        *request.id_mut() = self.id_of::<N>(&name, &change.once).await?;
        self.output.one(&self.make(&change.once, request).await?)
    }

    /// Removes one, after asking.
    pub async fn remove<N: Noun>(&self, removal: Changing<Removal<N>>) -> Result<(), Failure> {
        let Removal { name, yes, .. } = removal.flags;
        let id = match self.find::<N::Get>(N::WORDS.noun, &name).await {
            Ok(found) => {
                confirm(yes, &N::question(&found))?;
                found.id().to_owned()
            }
            Err(failure) => may_be_gone(failure, &removal.once, &name)?,
        };
        self.change(&removal.once, N::Delete::of(id)).await?;
        self.output.done(&N::gone(&name))
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
        let session = self.session;
        let request = request.within(&session.org, &session.project);
        Ok(session.all(request).await?)
    }

    /// Prints all items of a list.
    pub async fn print_all<R>(&self, request: R, columns: &[Column]) -> Result<(), Failure>
    where
        R: List<Item: Resource>,
    {
        self.output.many(&self.all(request).await?, columns)
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
