//! What went wrong, and what to do next.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use tonic::{Code, Status};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// A service refused.
    Service(Box<Status>),
    /// A service can't be reached.
    Unreachable {
        /// Which service: `IAM`.
        service: &'static str,
        /// Where it was looked for.
        endpoint: String,
        /// Why not.
        cause: String,
    },
    /// Something is wrong here: a file, a flag, an answer. The text says what to do.
    Local(String),
    /// A wait ended without what was waited for.
    TimedOut(String),
    /// Ctrl-C.
    Interrupted,
}

impl Failure {
    /// A failure to read or write a file.
    pub fn file(what: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self::Local(format!("cannot {what} {}: {error}", path.display()))
    }

    /// 1 in general; 3 not found; 4 not signed in or not permitted; 5 unreachable; 6 timed out; 130
    /// interrupted. (2 is a wrong command line.)
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Service(status) => match status.code() {
                Code::NotFound => 3,
                Code::Unauthenticated | Code::PermissionDenied => 4,
                Code::Unavailable => 5,
                Code::DeadlineExceeded => 6,
                _ => 1,
            },
            Self::Unreachable { .. } => 5,
            Self::Local(_) => 1,
            Self::TimedOut(_) => 6,
            Self::Interrupted => 130,
        })
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Service(Box::new(status))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(status) => {
                write!(f, "error: {}", status.message())?;
                if let Some(next) = next_step(status.code()) {
                    write!(f, "\n{next}")?;
                }
                Ok(())
            }
            Self::Unreachable {
                service,
                endpoint,
                cause,
            } => write!(
                f,
                "error: cannot reach {service} at {endpoint}: {cause}\n\
                 Is the server running there? `photon context show` shows the endpoints in use; change them \
                 with `photon context set` or {service}_ENDPOINT."
            ),
            Self::Local(text) | Self::TimedOut(text) => write!(f, "error: {text}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
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
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_next() {
        let text =
            Failure::from(Status::unauthenticated("not authenticated: token expired")).to_string();
        assert!(
            text.contains("token expired") && text.contains("photon login"),
            "{text}"
        );
    }
}
