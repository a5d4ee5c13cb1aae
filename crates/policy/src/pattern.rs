//! Patterns of actions and resources: which of them a permission speaks of.

use std::fmt;
use std::str::FromStr;

use photon_resource::{Action, ResourceName, Scope};

/// Why a pattern can't be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct PatternError {
    /// Counted in characters from 1.
    pub column: usize,
    /// What is wrong there and what would be accepted.
    pub problem: String,
}

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Word {
    Any,
    Is(String),
}

impl Word {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(word) => word == text,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        matches!(self, Self::Any) || self == other
    }

    /// The word; `None`: any.
    fn named(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Is(word) => Some(word),
        }
    }

    /// What both speak of; `None` if nothing.
    fn and(&self, text: &str) -> Option<Self> {
        self.matches(text).then(|| Self::Is(text.to_owned()))
    }
}

/// The parts of `text` between separators, each with its column.
fn parts(text: &str, separator: char) -> Vec<(usize, &str)> {
    let mut column = 1;
    text.split(separator)
        .map(|part| {
            let at = column;
            column += part.chars().count() + 1;
            (at, part)
        })
        .collect()
}

fn word(
    column: usize,
    part: &str,
    allowed: fn(char) -> bool,
    expected: &str,
) -> Result<Word, PatternError> {
    if part == "*" {
        return Ok(Word::Any);
    }
    if part.is_empty() {
        return Err(PatternError {
            column,
            problem: format!("empty part; expected {expected}"),
        });
    }
    match part.chars().position(|c| !allowed(c)) {
        None => Ok(Word::Is(part.to_owned())),
        Some(at) => Err(PatternError {
            column: column + at,
            problem: format!(
                "'{}' is not allowed in '{part}'; expected {expected}",
                part.chars().nth(at).unwrap_or_default()
            ),
        }),
    }
}

/// Which actions: `service:type:verb`, each part a word or `*`, where a `*` at the end stands for all that
/// could follow (`compute:*`, `*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActionPattern {
    pub(crate) service: Word,
    pub(crate) kind: Word,
    pub(crate) verb: Word,
    text: String,
}

impl ActionPattern {
    /// Whether it speaks of `action`.
    pub fn matches(&self, action: &Action) -> bool {
        let mut parts = action.as_str().splitn(3, ':');
        [&self.service, &self.kind, &self.verb]
            .into_iter()
            .all(|word| parts.next().is_some_and(|part| word.matches(part)))
    }

    /// Whether it speaks of every action that `other` speaks of.
    pub fn covers(&self, other: &Self) -> bool {
        self.service.covers(&other.service)
            && self.kind.covers(&other.kind)
            && self.verb.covers(&other.verb)
    }

    /// Service, type and verb; `None`: any.
    pub fn words(&self) -> [Option<&str>; 3] {
        [&self.service, &self.kind, &self.verb].map(Word::named)
    }
}

impl fmt::Display for ActionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ActionPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        const EXPECTED: &str = "a word of letters and digits, or '*' for any";
        let parts = parts(text, ':');
        if let Some((column, _)) = parts.get(3) {
            return Err(PatternError {
                column: *column,
                problem:
                    "a fourth part; expected 'SERVICE:TYPE:VERB' such as 'compute:instances:create'"
                        .into(),
            });
        }
        let mut words = Vec::with_capacity(3);
        for (column, part) in &parts {
            words.push(word(
                *column,
                part,
                |c| c.is_ascii_alphanumeric(),
                EXPECTED,
            )?);
        }
        if words.len() < 3 && words.last() != Some(&Word::Any) {
            return Err(PatternError {
                column: text.chars().count() + 1,
                problem: format!(
                    "ends after '{text}'; expected ':' and more, or '*' as the last part"
                ),
            });
        }
        words.resize(3, Word::Any);
        let [service, kind, verb] = <[Word; 3]>::try_from(words).map_err(|_| PatternError {
            column: 1,
            problem: "expected three parts".into(),
        })?;
        Ok(Self {
            service,
            kind,
            verb,
            text: text.to_owned(),
        })
    }
}

/// On which levels of the hierarchy a pattern's resources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Anywhere.
    Everything,
    /// What belongs to no tenant.
    System,
    /// In an organization or one of its projects.
    Tenant,
    /// In an organization itself.
    Org,
    /// In a project.
    Project,
}

impl Reach {
    fn matches(self, scope: &Scope) -> bool {
        match (self, scope) {
            (Self::Everything, _)
            | (Self::System, Scope::System)
            | (Self::Org, Scope::Org(_))
            | (Self::Project, Scope::Project(..)) => true,
            (Self::Tenant, scope) => *scope != Scope::System,
            _ => false,
        }
    }

    fn covers(self, other: Self) -> bool {
        match self {
            Self::Everything => true,
            Self::Tenant => matches!(other, Self::Tenant | Self::Org | Self::Project),
            _ => self == other,
        }
    }
}

/// Which resources: `org/{org}/project/{project}/{type}/{id}`, `org/{org}/{type}/{id}` or
/// `system/{type}/{id}`, each part a word or `*`, where a `*` at the end stands for all that could follow
/// (`org/acme/*`); empty or `*`: everything in the scope of the binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourcePattern {
    pub(crate) reach: Reach,
    pub(crate) org: Word,
    pub(crate) project: Word,
    pub(crate) kind: Word,
    pub(crate) id: Word,
    text: String,
}

impl ResourcePattern {
    /// Whether it speaks of `resource`.
    pub fn matches(&self, resource: &ResourceName) -> bool {
        let scope = resource.scope();
        let within = |word: &Word, part: Option<&str>| match part {
            Some(part) => word.matches(part),
            None => *word == Word::Any,
        };
        self.reach.matches(scope)
            && within(&self.org, scope.org().map(|org| org.as_str()))
            && within(
                &self.project,
                scope.project().map(|project| project.as_str()),
            )
            && self.kind.matches(resource.kind())
            && self.id.matches(resource.id())
    }

    /// Whether it speaks of every resource that `other` speaks of.
    pub fn covers(&self, other: &Self) -> bool {
        self.reach.covers(other.reach)
            && self.org.covers(&other.org)
            && self.project.covers(&other.project)
            && self.kind.covers(&other.kind)
            && self.id.covers(&other.id)
    }

    /// Organization, project, type and id; `None`: any, or none.
    pub fn words(&self) -> [Option<&str>; 4] {
        [&self.org, &self.project, &self.kind, &self.id].map(Word::named)
    }

    /// What is left of it in `scope`; `None`: nothing.
    pub fn within(&self, scope: &Scope) -> Option<Self> {
        let mut narrowed = self.clone();
        if let Some(org) = scope.org() {
            narrowed.org = self.org.and(org.as_str())?;
            narrowed.reach = match self.reach {
                Reach::System => return None,
                Reach::Everything => Reach::Tenant,
                reach => reach,
            };
        }
        if let Some(project) = scope.project() {
            narrowed.project = self.project.and(project.as_str())?;
            if narrowed.reach == Reach::Org {
                return None;
            }
            narrowed.reach = Reach::Project;
        }
        Some(narrowed)
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ResourcePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        const EXPECTED: &str = "letters, digits, '-', '.', '_', '@', or '*' for any";
        const FORMS: &str =
            "'org/ORG/project/PROJECT/TYPE/ID', 'org/ORG/TYPE/ID', 'system/TYPE/ID' or '*'";
        let mut pattern = Self {
            reach: Reach::Everything,
            org: Word::Any,
            project: Word::Any,
            kind: Word::Any,
            id: Word::Any,
            text: text.to_owned(),
        };
        if text.is_empty() || text == "*" {
            return Ok(pattern);
        }
        let mut words = Vec::new();
        for (column, part) in parts(text, '/') {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-._@".contains(c);
            words.push((column, word(column, part, allowed, EXPECTED)?));
        }
        let is = |at: usize, wanted: &str| matches!(words.get(at), Some((_, Word::Is(word))) if word == wanted);
        let any = |at: usize| matches!(words.get(at), Some((_, Word::Any)));
        // Where each part of this form goes.
        let (reach, form): (Reach, &[&str]) = if is(0, "system") {
            (Reach::System, &["system", "type", "id"])
        } else if !is(0, "org") {
            return Err(PatternError {
                column: 1,
                problem: format!("begins with neither 'org' nor 'system'; expected {FORMS}"),
            });
        } else if is(2, "project") {
            (
                Reach::Project,
                &["org", "ORG", "project", "PROJECT", "type", "id"],
            )
        } else if (words.len() <= 3 && any(words.len().wrapping_sub(1)))
            || (words.len() == 4 && any(2) && any(3))
        {
            // Also `org/acme/*/*`: its last `*` covers what is in projects.
            (Reach::Tenant, &["org", "ORG", "rest", "rest"])
        } else {
            (Reach::Org, &["org", "ORG", "type", "id"])
        };
        if let Some((column, _)) = words.get(form.len()) {
            return Err(PatternError {
                column: *column,
                problem: format!("more parts than a name has; expected {FORMS}"),
            });
        }
        if words.len() < form.len() && words.last().is_none_or(|(_, word)| *word != Word::Any) {
            return Err(PatternError {
                column: text.chars().count() + 1,
                problem: format!(
                    "ends after '{text}'; expected '/' and more, or '*' as the last part"
                ),
            });
        }
        pattern.reach = reach;
        for ((_, word), part) in words.into_iter().zip(form) {
            match *part {
                "ORG" => pattern.org = word,
                "PROJECT" => pattern.project = word,
                "type" => pattern.kind = word,
                "id" => pattern.id = word,
                _ => {}
            }
        }
        Ok(pattern)
    }
}

#[cfg(test)]
pub(crate) mod tests;
