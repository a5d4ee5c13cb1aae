//! SSH keys that a project keeps by name, and those that a new VM is given.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use photon_api::plasmavmc::v1::{
    CreateSshKeyRequest, DeleteSshKeyRequest, GetSshKeyRequest, Labels, ListSshKeysRequest, SshKey,
    UpdateSshKeyRequest,
};
use photon_resource::{is_private_key, validate_resource_name};
use tonic::Code;

use super::{ChosenLabels, NewLabels, OtherLabels, Renaming, read_text};
use crate::error::Failure;
use crate::noun::{
    About, Changing, Desk, Listed, Noun, Once, One, Removal, Removing, USUAL, Words, plain_request,
};
use crate::output::Column;

/// SSH keys of a project.
pub struct SshKeys;

impl Noun for SshKeys {
    type Resource = SshKey;
    type Get = GetSshKeyRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeleteSshKeyRequest;

    const WORDS: Words = Words {
        noun: "SSH key",
        delete: "Remove one; VMs that were made with it keep it",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("TYPE", "type"),
        ("FINGERPRINT", "fingerprint"),
        ("LABELS", "labels"),
        ("AGE", "created_at"),
    ];
}

/// The verbs of SSH keys.
#[derive(Subcommand)]
pub enum SshKeyCommand {
    /// Keep a public key under a name, for `photon vm create --ssh-key NAME`.
    #[command(visible_alias = "create")]
    Add(Changing<NewKey>),
    #[command(about = SshKeys::WORDS.get, visible_alias = "show")]
    Get(One<SshKeys>),
    #[command(about = SshKeys::WORDS.list, visible_alias = "ls")]
    List(Listed<Filter>),
    #[command(about = SshKeys::WORDS.update)]
    Update(Changing<About<SshKeys>>),
    #[command(about = SshKeys::WORDS.delete, visible_alias = "rm")]
    Delete(Changing<Removal<SshKeys>>),
}

/// A key to keep.
#[derive(Args)]
pub struct NewKey {
    /// Its name, unique in the project.
    name: String,
    /// File with the public key, such as ~/.ssh/id_ed25519.pub; `-` is standard input.
    file: PathBuf,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

/// Which keys.
#[derive(Args)]
pub struct Filter {
    #[command(flatten)]
    labels: ChosenLabels,
}

plain_request! {
    Filter as ListSshKeysRequest, |this| {
        labels: this.labels.map(),
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    meta: Renaming,
    #[command(flatten)]
    labels: OtherLabels,
}

plain_request! {
    Update as UpdateSshKeyRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}

/// `photon ssh-key`
pub async fn run(command: SshKeyCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        SshKeyCommand::Add(Changing { flags, once }) => add(flags, &once, desk).await,
        SshKeyCommand::Get(one) => desk.show(one).await,
        SshKeyCommand::List(list) => desk.list::<SshKeys>(list).await,
        SshKeyCommand::Update(change) => desk.update(change).await,
        SshKeyCommand::Delete(Changing { flags, once }) => flags.remove(&once, desk).await,
    }
}

async fn add(new: NewKey, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let mut keys = read_keys(&new.file)?;
    let (Some(public_key), true) = (keys.pop(), keys.is_empty()) else {
        let reason = "it has more than one public key, or none: give each a name of its own";
        return Err(Failure::file("use", &new.file, reason));
    };
    let request = CreateSshKeyRequest {
        name: new.name,
        public_key,
        description: new.description,
        labels: new.labels.map(),
        ..Default::default()
    };
    desk.output.one(&desk.make(once, request).await?)
}

/// The public keys in a file of authorized_keys form. A private key is refused here, so that it does not leave the machine.
pub fn read_keys(path: &Path) -> Result<Vec<String>, Failure> {
    let text = read_text(path)?;
    if is_private_key(&text) {
        let mut public = path.to_owned().into_os_string();
        public.push(".pub");
        let reason = format!(
            "it is a private key, which stays with you and was not sent: its public half is mostly in {}",
            Path::new(&public).display()
        );
        return Err(Failure::file("use", path, reason));
    }
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}

/// What a VM is given by `--ssh-key`, each a name of a key of the project, or else a file with public keys.
#[derive(Default)]
pub struct Given {
    /// Ids of keys of the project.
    pub ids: Vec<String>,
    /// The text of others.
    pub keys: Vec<String>,
}

impl Given {
    /// Finds out what each is.
    pub async fn of(given: &[String], desk: &Desk<'_>) -> Result<Self, Failure> {
        let mut found = Self::default();
        for one in given {
            // A path mostly can't be a name.
            if validate_resource_name("name", one).is_err() {
                found.keys.extend(read_keys(Path::new(one))?);
                continue;
            }
            match desk.find::<GetSshKeyRequest>("SSH key", one).await {
                Ok(key) => found.ids.push(key.id),
                Err(failure) if failure.code() == Some(Code::NotFound) => {
                    if !Path::new(one).exists() {
                        return Err(failure);
                    }
                    found.keys.extend(read_keys(Path::new(one))?);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(found)
    }
}
