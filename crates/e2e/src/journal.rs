//! What servers acknowledged, written down where their hosts' power cannot reach it, and that it is still there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use photon_api::iam::v1::ListPrincipalsRequest;
use photon_api::plasmavmc::v1::GetImageRequest;
use photon_api::prismnet::v1::ListPortsRequest;
use photon_client::call::Of;
use serde::{Deserialize, Serialize};

use crate::Session;

/// The label of an image that counts its changes.
pub const COUNT: &str = "photon-e2e-count";

/// One acknowledged write. A line of a journal is one of these as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Entry {
    /// IAM made a service account.
    ServiceAccount { org: String, id: String },
    /// PrismNET made a port.
    Port {
        org: String,
        project: String,
        id: String,
    },
    /// PlasmaVMC set the image's count; a later change sets a higher one.
    ImageCount {
        org: String,
        project: String,
        id: String,
        count: u64,
    },
}

impl Entry {
    pub fn service(&self) -> &'static str {
        match self {
            Entry::ServiceAccount { .. } => "iam",
            Entry::Port { .. } => "prismnet",
            Entry::ImageCount { .. } => "plasmavmc",
        }
    }
}

/// Acknowledged writes, also in a file if there is one.
#[derive(Debug, Default)]
pub struct Journal {
    pub entries: Vec<Entry>,
    file: Option<File>,
}

impl Journal {
    /// An empty one. The file must not exist: it may hold what another run was acknowledged.
    pub fn begin(path: Option<&Path>) -> Result<Self> {
        let create = |path: &Path| {
            File::create_new(path)
                .with_context(|| format!("cannot make the journal {}", path.display()))
        };
        Ok(Journal {
            entries: Vec::new(),
            file: path.map(create).transpose()?,
        })
    }

    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the journal {}", path.display()))?;
        let entries = (1..).zip(text.lines()).map(|(number, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}: line {number} is no entry: {line}", path.display()))
        });
        Ok(Journal {
            entries: entries.collect::<Result<_>>()?,
            file: None,
        })
    }

    pub fn append(&mut self, entry: Entry) -> Result<()> {
        if let Some(file) = &mut self.file {
            let mut line = serde_json::to_vec(&entry)?;
            line.push(b'\n');
            file.write_all(&line).context("cannot write the journal")?;
        }
        self.entries.push(entry);
        Ok(())
    }

    /// How many writes each server acknowledged.
    pub fn acknowledged(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.entries {
            *counts.entry(entry.service()).or_default() += 1;
        }
        counts
    }

    /// As the operator: the entries that are not there any more, in words.
    pub async fn lost(&self, operator: &Session) -> Result<Vec<String>> {
        let mut accounts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut ports: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        let mut counts: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
        for entry in &self.entries {
            match entry {
                Entry::ServiceAccount { org, id } => accounts.entry(org).or_default().push(id),
                Entry::Port { org, project, id } => {
                    ports.entry((org, project)).or_default().push(id);
                }
                Entry::ImageCount {
                    org,
                    project,
                    id,
                    count,
                } => {
                    let highest = counts.entry((org, project, id)).or_default();
                    *highest = (*highest).max(*count);
                }
            }
        }
        let mut lost = Vec::new();
        for (org, ids) in accounts {
            let inside = operator.within(org, "");
            let there = inside.every::<ListPrincipalsRequest>().await?;
            let there: BTreeSet<String> = there.into_iter().map(|item| item.id).collect();
            lost.extend(missing("service account", &ids, &there));
        }
        for ((org, project), ids) in ports {
            let inside = operator.within(org, project);
            let there = inside.every::<ListPortsRequest>().await?;
            let there: BTreeSet<String> = there.into_iter().map(|item| item.id).collect();
            lost.extend(missing("port", &ids, &there));
        }
        for ((org, project, id), count) in counts {
            let inside = operator.within(org, project);
            let answer = inside.here(GetImageRequest::of(id)).await;
            let image = answer
                .with_context(|| format!("cannot ask for the image {id}"))?
                .image
                .context("GetImage answered without the image")?;
            let now: u64 = image
                .labels
                .get(COUNT)
                .and_then(|label| label.parse().ok())
                .unwrap_or(0);
            if now < count {
                lost.push(format!(
                    "change {count} of the image {id}, which is at {now}"
                ));
            }
        }
        Ok(lost)
    }
}

fn missing(what: &str, ids: &[&str], there: &BTreeSet<String>) -> Vec<String> {
    ids.iter()
        .filter(|id| !there.contains(**id))
        .map(|id| format!("{what} {id}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(id: &str) -> Entry {
        Entry::Port {
            org: "acme".into(),
            project: "web".into(),
            id: id.into(),
        }
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::begin(Some(&path)).unwrap();
        journal.append(port("p1")).unwrap();
        let image = Entry::ImageCount {
            org: "acme".into(),
            project: "web".into(),
            id: "i1".into(),
            count: 7,
        };
        journal.append(image).unwrap();
        assert_eq!(Journal::read(&path).unwrap().entries, journal.entries);
        assert_eq!(
            journal.acknowledged(),
            BTreeMap::from([("plasmavmc", 1), ("prismnet", 1)])
        );
    }

    #[test]
    fn a_journal_is_not_overwritten_and_a_cut_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::begin(Some(&path)).unwrap();
        journal.append(port("p1")).unwrap();
        let error = Journal::begin(Some(&path)).unwrap_err();
        assert!(format!("{error:#}").contains("exists"), "{error:#}");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{{\"kind\":\"po")).unwrap();
        let error = Journal::read(&path).unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let there = BTreeSet::from(["p1".to_owned()]);
        assert_eq!(missing("port", &["p1", "p2"], &there), ["port p2"]);
    }
}
