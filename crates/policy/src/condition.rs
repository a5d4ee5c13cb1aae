//! Conditions: Cedar expressions over `principal`, `resource` and `context`, validated when they are made.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{Expression, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

/// The longest condition: far beyond what people write, and what a deep one costs stays bounded.
const MAX_LENGTH: usize = 2000;
/// How deep brackets may nest, so that no parser's stack is exhausted.
const MAX_DEPTH: usize = 32;

/// What a condition can read, as Cedar has it.
pub const SCHEMA_TEXT: &str = include_str!("schema.cedarschema");

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    // Can't fail: the text is compiled in, and a test parses it.
    let (schema, _) =
        Schema::from_cedarschema_str(SCHEMA_TEXT).expect("the built-in schema is valid");
    schema
});

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| Validator::new(SCHEMA.clone()));

/// What a condition can read.
pub fn schema() -> &'static Schema {
    &SCHEMA
}

/// Why a condition can't be accepted, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// Counted from 1.
    pub line: usize,
    /// Counted in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: String,
    /// The line, for the caret below it.
    excerpt: String,
}

impl ConditionError {
    fn at(text: &str, offset: usize, problem: String) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: text[line_start..offset].chars().count() + 1,
            problem,
            excerpt: text[line_start..].lines().next().unwrap_or("").to_owned(),
        }
    }
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 1 {
            write!(f, "line {}, ", self.line)?;
        }
        write!(
            f,
            "column {}: {}\n  {}\n  {}^",
            self.column,
            self.problem,
            self.excerpt,
            " ".repeat(self.column - 1)
        )
    }
}

impl std::error::Error for ConditionError {}

/// A condition that the schema accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition(String);

impl Condition {
    /// The Cedar expression.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    /// Errors: it is not an expression, reads what the schema does not know, or is not a truth value.
    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let text = text.trim_end();
        check_size(text)?;
        // Alone first: what is not one expression by itself could end the clause that it is put into.
        Expression::from_str(text).map_err(|errors| first_problem(text, 0, errors.iter()))?;
        const BEFORE: &str = "permit(principal, action == Action::\"call\", resource) when {\n";
        let policy = format!("{BEFORE}{text}\n}};");
        let id = PolicyId::new("condition");
        let policy = Policy::parse(Some(id), &policy)
            .map_err(|errors| first_problem(text, BEFORE.len(), errors.iter()))?;
        let policies = PolicySet::from_policies([policy])
            .map_err(|error| ConditionError::at(text, 0, error.to_string()))?;
        let result = VALIDATOR.validate(&policies, ValidationMode::Strict);
        if result.validation_errors().next().is_some() {
            return Err(first_problem(
                text,
                BEFORE.len(),
                result.validation_errors(),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

fn check_size(text: &str) -> Result<(), ConditionError> {
    if text.trim().is_empty() {
        return Err(ConditionError::at(
            text,
            0,
            "empty; expected a Cedar expression, or no condition".into(),
        ));
    }
    if text.chars().count() > MAX_LENGTH {
        let problem = format!("more than {MAX_LENGTH} characters");
        return Err(ConditionError::at(text, MAX_LENGTH, problem));
    }
    let mut depth = 0usize;
    let mut negations = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '!' | '-' => negations += 1,
            _ => {}
        }
        if depth > MAX_DEPTH || negations > MAX_LENGTH / 10 {
            let problem = format!("nested deeper than {MAX_DEPTH} brackets");
            return Err(ConditionError::at(text, at, problem));
        }
    }
    Ok(())
}

/// The problem that stands first in `text`, which begins at `shift` in what Cedar read. (Cedar tells of problems
/// in no certain order.)
fn first_problem<'a, D: Diagnostic + 'a>(
    text: &str,
    shift: usize,
    errors: impl Iterator<Item = &'a D>,
) -> ConditionError {
    let place = |error: &D| {
        let label = error.labels().and_then(|mut labels| labels.next());
        label.map_or(shift, |label| label.offset())
    };
    let Some(error) = errors.min_by_key(|error| (place(error), error.to_string())) else {
        return ConditionError::at(text, 0, "not a condition".to_owned());
    };
    let label = error.labels().and_then(|mut labels| labels.next());
    let offset = place(error);
    let mut problem = error.to_string();
    // Cedar names the policy, which here is ours alone.
    if let Some(rest) = problem.strip_prefix("for policy `condition`, ") {
        problem = rest.to_owned();
    }
    if let Some(label) = label.as_ref().and_then(|label| label.label()) {
        problem = format!("{problem}: {label}");
    }
    if let Some(help) = error.help() {
        problem = format!("{problem} ({help})");
    }
    ConditionError::at(text, offset.saturating_sub(shift), problem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_api_reference_shows_is_accepted() {
        for text in [
            r#"context.source_ip.isInRange(ip("10.0.0.0/8"))"#,
            "resource.owner == principal.id",
            r#"resource.hasTag("env") && resource.getTag("env") == "test""#,
            r#"context.now < datetime("2027-01-01") && principal.kind != "user""#,
            "resource.node == principal.node // a comment",
        ] {
            text.parse::<Condition>()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn an_error_points_at_the_column() {
        for (text, line, column, says) in [
            (r#"context.source == "a""#, 1, 1, "source_ip"),
            (
                r#"resource.owner == "a" && resource.colour == "b""#,
                1,
                26,
                "colour",
            ),
            ("resource.owner ==", 1, 18, ""),
            (
                "resource.owner == principal.id &&\n  resource.wheels",
                2,
                3,
                "wheels",
            ),
            ("resource.owner", 1, 1, "bool"),
            (
                r#"context.source_ip.isInRange(ip("10.0.0.0/40"))"#,
                1,
                29,
                "ip",
            ),
            (r#"resource.getTag("env") == "test""#, 1, 1, "hasTag"),
            (
                "true }; permit(principal, action, resource) when { true",
                1,
                6,
                "",
            ),
            ("1 + true", 1, 1, "bool"),
            ("", 1, 1, "empty"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert_eq!(
                (error.line, error.column),
                (line, column),
                "{text}: {error}"
            );
            assert!(
                error.problem.to_lowercase().contains(&says.to_lowercase()),
                "{text}: {error}"
            );
            assert!(!error.problem.contains("policy `condition`"), "{error}");
        }
    }

    #[test]
    fn the_caret_stands_below_the_problem() {
        let error = "true && resource.wheels"
            .parse::<Condition>()
            .unwrap_err()
            .to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines[1], "  true && resource.wheels");
        assert_eq!(lines[2].find('^'), Some(2 + 8));
    }

    #[test]
    fn deep_nesting_is_refused_without_harm() {
        for text in [
            "(".repeat(1900),
            "[".repeat(1900),
            format!("{}true", "!".repeat(1900)),
            "if true then ".repeat(140),
            "true && ".repeat(240),
            "a.".repeat(900),
        ] {
            assert!(text.parse::<Condition>().is_err());
        }
        let long = format!("{}true", "true || ".repeat(240));
        long.parse::<Condition>().unwrap();
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[a-z.=!&|<>(){}\\[\\]\"' \n0-9+*-]{0,60}|\\PC{0,60}") {
            if let Err(error) = text.parse::<Condition>() {
                prop_assert!(error.line >= 1 && error.column >= 1);
                let _ = error.to_string();
            }
        }
    }
}
