//! What went wrong, and what to do next.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use photon_client::Refusal;
use tonic::Code;

use crate::flags::Flags;
use crate::output::plain_values;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// A service refused.
    Service(Box<Refusal>),
    /// Signing in was refused.
    SignIn(Box<Refusal>),
    /// A service can't be reached.
    Unreachable {
        /// What it is to those who use the cloud: `network service`.
        service: &'static str,
        /// Where it was looked for.
        endpoint: String,
        /// Why not.
        cause: String,
    },
    /// Something is wrong here: a file, a flag, an answer. The text says what to do.
    Local(String),
    /// What nobody may give the caller the right to. The text says who does it.
    NotPermitted(String),
    /// A wait ended without what was waited for.
    TimedOut(String),
    /// Who was asked did not agree.
    Declined,
    /// Whoever read our output has gone, having seen enough.
    NobodyReads,
    /// Ctrl-C.
    Interrupted,
}

impl Failure {
    /// A failure to read or write a file.
    pub fn file(what: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self::Local(format!("cannot {what} {}: {error}", path.display()))
    }

    /// A failure to write to standard output.
    pub fn print(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Local(format!("cannot print: {error}")),
        }
    }

    /// The code that a service refused with.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Service(refusal) | Self::SignIn(refusal) => Some(refusal.status.code()),
            _ => None,
        }
    }

    /// 0 if only nobody reads any more; 1 in general, and when who was asked did not agree; 3 not found; 4 not signed in or
    /// not permitted; 5 unreachable; 6 timed out; 130 interrupted. (2 is a wrong command line.) `photon --help` says so.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Service(refusal) | Self::SignIn(refusal) => match refusal.status.code() {
                Code::NotFound => 3,
                Code::Unauthenticated | Code::PermissionDenied => 4,
                Code::Unavailable => 5,
                Code::DeadlineExceeded => 6,
                _ => 1,
            },
            Self::Unreachable { .. } => 5,
            Self::Local(_) | Self::Declined => 1,
            Self::NotPermitted(_) => 4,
            Self::TimedOut(_) => 6,
            Self::NobodyReads => 0,
            Self::Interrupted => 130,
        })
    }

    /// What is said of it: fields that a service refuses by the flags of this command, where it has them.
    pub fn explain(&self, flags: &Flags) -> String {
        match self {
            Self::Service(refusal) => {
                let mut text = format!("error: {}", named_by_flags(refusal, flags));
                if let Some(next) = next_step(refusal) {
                    text.push('\n');
                    text.push_str(&next);
                }
                text
            }
            Self::SignIn(refusal) => {
                let mut text = format!("error: {}", named_by_flags(refusal, flags));
                if refusal.status.code() == Code::Unauthenticated {
                    text.push_str(
                        "\nCheck the name, the password or key, and the organization (`--org`): a name is one of its \
                         organization's. Whoever administers the organization can set a new password.",
                    );
                }
                text
            }
            Self::Unreachable {
                service,
                endpoint,
                cause,
            } => format!(
                "error: cannot reach the {service} at {endpoint}: {cause}\n\
                 Is that where the cloud is? `photon context show` shows the endpoints in use, and `photon context set NAME \
                 --endpoint URL` changes them."
            ),
            Self::Declined => "Nothing was changed.".to_owned(),
            Self::Local(text) | Self::NotPermitted(text) | Self::TimedOut(text) => {
                format!("error: {text}")
            }
            Self::NobodyReads => String::new(),
            Self::Interrupted => "interrupted".to_owned(),
        }
    }
}

/// The refusal's text, with flags in the place of the fields that it is about, and the API's names of values as tables
/// show them.
fn named_by_flags(refusal: &Refusal, flags: &Flags) -> String {
    let mut text = plain_values(refusal.status.message());
    for violation in &refusal.fields {
        if let Some(flag) = flags.of(&violation.subject) {
            text = text.replacen(&format!("{} '", violation.subject), &format!("{flag} '"), 1);
        }
    }
    text
}

impl From<photon_client::Error> for Failure {
    fn from(error: photon_client::Error) -> Self {
        match error {
            photon_client::Error::Settings(text) => Self::Local(text),
            photon_client::Error::Unreachable {
                component,
                endpoint,
                cause,
                ..
            } => Self::Unreachable {
                service: photon_client::component(&component)
                    .map_or("server", |component| component.serves),
                endpoint,
                cause,
            },
            photon_client::Error::Refused(refusal) => Self::Service(refusal),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain(&Flags::default()))
    }
}

/// What whoever reads it can do, who is a tenant or may be one.
fn next_step(refusal: &Refusal) -> Option<String> {
    let named = |text: &str| match &refusal.request_id {
        Some(id) => format!("{text} The request was {id}."),
        None => text.to_owned(),
    };
    let text = match refusal.status.code() {
        Code::Unauthenticated => "Sign in with `photon login`.",
        Code::PermissionDenied => {
            "`photon whoami` shows your roles; whoever administers the project or the organization can give you more."
        }
        Code::NotFound => {
            "`list` shows what there is in your scope; `--org` and `--project` choose another one."
        }
        Code::Aborted => "Somebody changed it meanwhile: look at it again and repeat.",
        Code::Unavailable | Code::DeadlineExceeded => {
            return Some(named(
                "Try again in a moment. If it stays so, tell those who run the cloud.",
            ));
        }
        Code::Internal => {
            return Some(named(
                "That is a fault of the cloud: tell those who run it, whose logs have the cause.",
            ));
        }
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn refused(status: Status) -> Failure {
        photon_client::Error::of("plasmavmc", "http://here", status).into()
    }

    #[test]
    fn a_refusal_says_what_to_do_next() {
        let status = Status::unauthenticated("not authenticated: token expired");
        let text = refused(status).to_string();
        assert!(
            text.contains("token expired") && text.contains("photon login"),
            "{text}"
        );
    }

    #[test]
    fn a_field_is_named_by_its_flag_where_the_command_has_one() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("spec.vcpus", "expected 1 to 64");
        let text = "spec.vcpus '100' is not valid: expected 1 to 64";
        let status = Status::with_error_details(Code::InvalidArgument, text, details);
        let failure = refused(status);
        let flags = Flags::new(["vcpus", "memory"], []);
        assert_eq!(
            failure.explain(&flags),
            "error: --vcpus '100' is not valid: expected 1 to 64"
        );
        assert_eq!(failure.explain(&Flags::default()), format!("error: {text}"));
    }

    #[test]
    fn who_could_not_sign_in_is_not_told_to_sign_in() {
        let status = Status::unauthenticated("not authenticated: wrong name or password");
        let failure = match refused(status) {
            Failure::Service(refusal) => Failure::SignIn(refusal),
            other => other,
        };
        let text = failure.to_string();
        assert!(
            text.contains("--org") && !text.contains("photon login"),
            "{text}"
        );
        assert_eq!(failure.code(), Some(Code::Unauthenticated));
    }

    #[test]
    fn a_no_is_no_error() {
        let said = Failure::Declined.to_string();
        assert_eq!(said, "Nothing was changed.");
    }

    #[test]
    fn the_apis_names_of_values_read_as_in_tables() {
        let text = "expected IMAGE_FORMAT_RAW, not VM_PHASE_NONE";
        let said = refused(Status::failed_precondition(text)).to_string();
        assert_eq!(said, "error: expected raw, not VM_PHASE_NONE");
    }

    #[test]
    fn no_advice_sends_a_tenant_to_a_host() {
        for status in [
            Status::internal("?"),
            Status::unavailable("?"),
            Status::deadline_exceeded("?"),
            Status::permission_denied("?"),
        ] {
            let said = refused(status).to_string();
            for word in ["systemctl", "journalctl", "on the host"] {
                assert!(!said.contains(word), "{said}");
            }
        }
    }
}
