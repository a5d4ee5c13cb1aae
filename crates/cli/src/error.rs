//! What went wrong, and what to do next.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use photon_client::Refusal;
use tonic::Code;

use crate::flags::Flags;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// A service refused.
    Service(Box<Refusal>),
    /// A service can't be reached.
    Unreachable {
        /// Which service: `IAM`.
        service: String,
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
            Self::Service(refusal) => Some(refusal.status.code()),
            _ => None,
        }
    }

    /// 0 if only nobody reads any more; 1 in general; 3 not found; 4 not signed in or not permitted; 5 unreachable;
    /// 6 timed out; 130 interrupted. (2 is a wrong command line.)
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Service(refusal) => match refusal.status.code() {
                Code::NotFound => 3,
                Code::Unauthenticated | Code::PermissionDenied => 4,
                Code::Unavailable => 5,
                Code::DeadlineExceeded => 6,
                _ => 1,
            },
            Self::Unreachable { .. } => 5,
            Self::Local(_) => 1,
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
                if let Some(next) = next_step(refusal.status.code()) {
                    text.push('\n');
                    text.push_str(next);
                }
                text
            }
            Self::Unreachable {
                service,
                endpoint,
                cause,
            } => format!(
                "error: cannot reach {service} at {endpoint}: {cause}\n\
                 Is the server running there? `photon context show` shows the endpoints in use; change them \
                 with `photon context set` or {service}_ENDPOINT."
            ),
            Self::Local(text) | Self::NotPermitted(text) | Self::TimedOut(text) => {
                format!("error: {text}")
            }
            Self::NobodyReads => String::new(),
            Self::Interrupted => "interrupted".to_owned(),
        }
    }
}

/// The refusal's text, with flags in the place of the fields that it is about.
fn named_by_flags(refusal: &Refusal, flags: &Flags) -> String {
    let mut text = refusal.status.message().to_owned();
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
                service: component.to_uppercase(),
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

fn next_step(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Unauthenticated => "Sign in with `photon login`.",
        Code::PermissionDenied => {
            "`photon whoami` shows your bindings; somebody with more rights can add one with `photon binding create`."
        }
        Code::NotFound => {
            "`list` shows what there is in your scope; `--org` and `--project` choose another one."
        }
        Code::Aborted => "Somebody changed it meanwhile: look at it again and repeat.",
        Code::Unavailable | Code::DeadlineExceeded => {
            "Try again; `systemctl status` on the host shows whether the service runs."
        }
        Code::Internal => "The service's log has the cause (`journalctl -u` on the host).",
        _ => return None,
    })
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
}
