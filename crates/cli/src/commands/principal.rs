//! Users and service accounts.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use photon_api::iam::v1::{
    CreatePrincipalRequest, DeletePrincipalRequest, GetPrincipalRequest, ListPrincipalsRequest,
    Principal, PrincipalKind, SetPasswordRequest, UpdatePrincipalRequest, WhoAmIRequest,
};

use super::{Renaming, present, read_secret};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{
    Action, Changing, Desk, Flags, Noun, One, Removal, USUAL, Whole, Words, plain_request,
};
use crate::output::Column;

const WORDS: Words = Words {
    noun: "principal",
    list: "List the organization's",
    update: "Change name or description",
    delete: "Remove it with its credentials and bindings",
    ..USUAL
};
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ORG", "org_id"),
    ("KIND", "kind"),
    ("DISABLED", "disabled"),
    ("DESCRIPTION", "description"),
];

/// People who sign in with a password.
pub struct Users;

/// Programs that sign in with an API key.
pub struct ServiceAccounts;

/// What tells them apart.
pub trait Kind {
    const KIND: PrincipalKind;
}

impl Kind for Users {
    const KIND: PrincipalKind = PrincipalKind::User;
}

impl Kind for ServiceAccounts {
    const KIND: PrincipalKind = PrincipalKind::ServiceAccount;
}

fn question(principal: &Principal) -> String {
    format!(
        "Remove {} ({}) with its credentials and bindings?",
        principal.name, principal.id
    )
}

impl Noun for Users {
    type Resource = Principal;
    type Get = GetPrincipalRequest;
    type Filter = OfKind<Self>;
    type Update = Update;
    type Delete = DeletePrincipalRequest;

    const WORDS: Words = Words {
        create: "Make a user",
        ..WORDS
    };
    const COLUMNS: &'static [Column] = COLUMNS;

    fn question(user: &Principal) -> String {
        question(user)
    }

    fn gone(name: &str) -> String {
        format!("{name} is gone.")
    }
}

impl Whole for Users {
    type New = NewUser;
    type Actions = UserAction;
    type Removal = Removal<Self>;
}

impl Noun for ServiceAccounts {
    type Resource = Principal;
    type Get = GetPrincipalRequest;
    type Filter = OfKind<Self>;
    type Update = Update;
    type Delete = DeletePrincipalRequest;

    const WORDS: Words = Words {
        create: "Make a service account",
        ..WORDS
    };
    const COLUMNS: &'static [Column] = COLUMNS;

    fn question(account: &Principal) -> String {
        question(account)
    }

    fn gone(name: &str) -> String {
        format!("{name} is gone.")
    }
}

impl Whole for ServiceAccounts {
    type New = NewServiceAccount;
    type Actions = AccessAction;
    type Removal = Removal<Self>;
}

/// What else a user can do.
#[derive(Subcommand)]
pub enum UserAction {
    /// Set a password: yours (the current one is asked for) or, with the right to, another user's.
    SetPassword(Changing<Password>),
    #[command(flatten)]
    Access(AccessAction),
}

/// Whether it may sign in.
#[derive(Subcommand)]
pub enum AccessAction {
    /// No more tokens for it; those it has stop working at once.
    Disable(Changing<One<Users>>),
    /// Undo `disable`.
    Enable(Changing<One<Users>>),
}

impl Action for UserAction {
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure> {
        match self {
            Self::SetPassword(change) => set_password(change, desk).await,
            Self::Access(action) => action.carry_out(desk).await,
        }
    }
}

impl Action for AccessAction {
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure> {
        let (change, disabled) = match self {
            Self::Disable(change) => (change, true),
            Self::Enable(change) => (change, false),
        };
        let request = UpdatePrincipalRequest {
            // Of either kind: a name is one's of all.
            id: desk
                .id_of::<Users>(&change.flags.name, &change.once)
                .await?,
            disabled: Some(disabled),
            ..Default::default()
        };
        desk.output.one(&desk.make(&change.once, request).await?)
    }
}

/// Whose password, and where it is.
#[derive(Args)]
pub struct Password {
    /// Name or id.
    #[arg(add = names::<Users>())]
    name: String,
    /// File with the new password; `-` is standard input. Without it you are asked.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// File with the current password, when it is your own that you change.
    #[arg(long)]
    current_password_file: Option<PathBuf>,
}

/// A principal to make.
#[derive(Args)]
pub struct NewPrincipal {
    /// Its name, unique in the organization.
    name: String,
    /// What or who it is.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

impl NewPrincipal {
    fn of_kind(self, kind: PrincipalKind) -> CreatePrincipalRequest {
        CreatePrincipalRequest {
            name: self.name,
            kind: kind.into(),
            description: self.description,
            ..Default::default()
        }
    }
}

/// A user to make.
#[derive(Args)]
pub struct NewUser {
    #[command(flatten)]
    new: NewPrincipal,
    /// File with the first password (at least 12 characters); `-` is standard input. Without it the user
    /// has none until `photon user set-password`.
    #[arg(long)]
    password_file: Option<PathBuf>,
}

impl Flags for NewUser {
    type Request = CreatePrincipalRequest;

    async fn request(self, _: &Desk<'_>) -> Result<CreatePrincipalRequest, Failure> {
        let password = match &self.password_file {
            Some(path) => read_secret(Some(path), "")?,
            None => String::new(),
        };
        Ok(CreatePrincipalRequest {
            password,
            ..self.new.of_kind(Users::KIND)
        })
    }
}

/// A service account to make.
#[derive(Args)]
pub struct NewServiceAccount {
    #[command(flatten)]
    new: NewPrincipal,
}

impl Flags for NewServiceAccount {
    type Request = CreatePrincipalRequest;

    async fn request(self, _: &Desk<'_>) -> Result<CreatePrincipalRequest, Failure> {
        Ok(self.new.of_kind(ServiceAccounts::KIND))
    }
}

/// All of a kind.
#[derive(Args)]
pub struct OfKind<K: Kind> {
    #[arg(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Flags for OfKind<K> {
    type Request = ListPrincipalsRequest;

    async fn request(self, _: &Desk<'_>) -> Result<ListPrincipalsRequest, Failure> {
        Ok(ListPrincipalsRequest {
            kind: K::KIND.into(),
            ..Default::default()
        })
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    meta: Renaming,
}

plain_request! {
    Update as UpdatePrincipalRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
    }
}

/// The id of the principal with this name or id, and whether that is who calls: nobody needs a right to know its own.
pub async fn whose(desk: &Desk<'_>, name: &str) -> Result<(String, bool), Failure> {
    let me = desk.call(WhoAmIRequest {}).await?.principal;
    let me = present(me, "principal")?;
    let org = &desk.session.org;
    if me.id == name || (me.name == name && (org.is_empty() || me.org_id == *org)) {
        return Ok((me.id, true));
    }
    let found = desk.find::<GetPrincipalRequest>("principal", name).await?;
    Ok((found.id, false))
}

async fn set_password(change: Changing<Password>, desk: &Desk<'_>) -> Result<(), Failure> {
    let Password {
        name,
        password_file,
        current_password_file,
    } = change.flags;
    let (principal_id, mine) = whose(desk, &name).await?;
    let current_password = match &current_password_file {
        Some(path) => read_secret(Some(path), "")?,
        None if mine => read_secret(None, "Current password: ")?,
        None => String::new(),
    };
    let prompt = format!("New password of {name}: ");
    let request = SetPasswordRequest {
        principal_id,
        current_password,
        new_password: read_secret(password_file.as_deref(), &prompt)?,
        ..Default::default()
    };
    desk.change(&change.once, request).await?;
    desk.output.done(&format!("The password of {name} is set."))
}
