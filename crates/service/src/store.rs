//! The commands about a server's store: `backup`, `restore`, `verify`, `finalize-schema`.

use std::path::Path;

use anyhow::{Context, bail};
use chainfire::Ledger;
use flaredb::maintenance::{self, Restore, Sound};
use flaredb::{Db, Error};
use photon_program::{Component, StoreCommand};

/// Carries `command` out on `store`. Answers what to say of it.
pub(crate) async fn carry_out(
    command: &StoreCommand,
    store: &Path,
    component: Component,
) -> anyhow::Result<String> {
    match command {
        StoreCommand::Backup { to } => backup(store, to).await,
        StoreCommand::Restore { from } => restore(store, from, component).await,
        StoreCommand::Verify { store: None } => verify(store, component).await,
        StoreCommand::Verify { store: Some(other) } => verify(other, component).await,
        StoreCommand::FinalizeSchema => finalize(store).await,
    }
}

async fn backup(store: &Path, to: &Path) -> anyhow::Result<String> {
    let Sound { schema, revision } = maintenance::backup(store, to).await?;
    let mut said = format!(
        "copied {} to {} (schema {schema}, revision {revision})",
        store.display(),
        to.display()
    );
    let beside = beside(store)?;
    if !beside.is_empty() {
        said.push_str(&format!(
            "\nnot in it, to be copied apart if it is to be kept: {}",
            beside.join(", ")
        ));
    }
    Ok(said)
}

/// What else the server keeps beside its store.
fn beside(store: &Path) -> anyhow::Result<Vec<String>> {
    let dir = store.parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("flaredb.sqlite") {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    Ok(found)
}

async fn restore(store: &Path, from: &Path, component: Component) -> anyhow::Result<String> {
    let restore = match Restore::begin(store, from).await {
        Err(Error::InUse { path, holder }) => bail!(
            "{} is open in process {holder}: stop the server first, and start it again after the restore",
            path.display()
        ),
        begun => begun?,
    };
    let Sound { schema, revision } = restore.sound();
    chains(restore.copy(), component)
        .await
        .with_context(|| format!("{} was not restored", from.display()))?;
    let kept = restore.finish().await?;
    let mut said = format!(
        "restored {} from {} (schema {schema}, revision {revision})",
        store.display(),
        from.display()
    );
    if let Some(kept) = kept {
        said.push_str(&format!("\nthe store before is {}", kept.display()));
    }
    Ok(said)
}

async fn verify(store: &Path, component: Component) -> anyhow::Result<String> {
    let Sound { schema, revision } = maintenance::check(store).await?;
    let (chains, events) = chains(store, component).await?;
    Ok(format!(
        "{} is sound: schema {schema}, revision {revision}, {chains} chains with {events} events",
        store.display()
    ))
}

/// Checks every chain of events: how many chains and events there are.
async fn chains(store: &Path, component: Component) -> anyhow::Result<(usize, u64)> {
    let db = Db::sqlite_read_only(store).await?;
    let ledger = Ledger::new(db, component.name);
    let chains = ledger.chains().await?;
    let mut events = 0;
    for chain in &chains {
        let report = ledger.verify_chain(chain, None).await?;
        if let Some(problem) = report.problem {
            bail!(
                "the event chain of '{chain}' in {} is broken: {problem}",
                store.display()
            );
        }
        events += report.events;
    }
    Ok((chains.len(), events))
}

async fn finalize(store: &Path) -> anyhow::Result<String> {
    let (before, after) = match maintenance::finalize(store).await {
        Err(Error::InUse { path, holder }) => bail!(
            "{} is open in process {holder}: stop the server first, and start it again after this",
            path.display()
        ),
        done => done?,
    };
    Ok(if before == after {
        format!("{} has schema {after} already", store.display())
    } else {
        format!(
            "{} was brought from schema {before} to {after}: programs of schema {before} can't read it any more",
            store.display()
        )
    })
}
