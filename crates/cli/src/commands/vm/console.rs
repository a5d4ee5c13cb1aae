//! `photon vm console`: the terminal is the guest's until Ctrl-].

use std::io::{IsTerminal, Write};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use photon_api::plasmavmc::v1::{ConsoleRequest, Vm, console_request::Message};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::Failure;
use crate::noun::Desk;
use crate::output::tell;

/// Ctrl-], as telnet and virsh have it.
const ESCAPE: u8 = 0x1d;

/// The terminal in raw mode; dropping it puts it back.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Result<Self, Failure> {
        let wrong =
            |error| Failure::Local(format!("cannot put the terminal into raw mode: {error}"));
        let before = tcgetattr(std::io::stdin()).map_err(wrong)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).map_err(wrong)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// What is typed, up to the escape; whether the escape was in it.
fn until_escape(typed: &[u8], terminal: bool) -> (&[u8], bool) {
    match typed.iter().position(|byte| terminal && *byte == ESCAPE) {
        Some(at) => (&typed[..at], true),
        None => (typed, false),
    }
}

/// `photon vm console`
pub async fn run(desk: &Desk<'_>, vm: &Vm) -> Result<(), Failure> {
    let terminal = std::io::stdin().is_terminal();
    let (sender, receiver) = mpsc::channel(16);
    let open = ConsoleRequest {
        message: Some(Message::VmId(vm.id.clone())),
    };
    // The receiver is right here, and the queue is empty.
    sender
        .try_send(open)
        .map_err(|_| Failure::Local("the console's queue is closed".into()))?;
    let lost = |status| Failure::from(desk.session.channels.error("plasmavmc", status));
    desk.session.fresh().await?;
    let mut vms = desk.session.vms();
    let opened = vms.console(ReceiverStream::new(receiver)).await;
    let mut answers = opened.map_err(lost)?.into_inner();
    if terminal {
        tell!("Console of {}. Ctrl-] leaves it.", vm.name);
    }
    let raw = if terminal {
        Some(RawTerminal::enter()?)
    } else {
        None
    };
    let mut input = tokio::io::stdin();
    let mut buffer = [0; 4096];
    let mut open = true;
    let result = loop {
        tokio::select! {
            answer = answers.message() => match answer {
                Ok(Some(answer)) => {
                    let mut out = std::io::stdout();
                    if let Err(error) = out.write_all(&answer.output).and_then(|()| out.flush()) {
                        break Err(Failure::print(error));
                    }
                }
                Ok(None) => break Ok(()),
                Err(status) => break Err(lost(status)),
            },
            // Piped input ends before the guest has answered: then only listen, until Ctrl-C or the guest ends.
            read = input.read(&mut buffer), if open => match read {
                Ok(0) => open = false,
                Ok(length) => {
                    let (typed, escaped) = until_escape(&buffer[..length], terminal);
                    let message = ConsoleRequest { message: Some(Message::Input(typed.to_vec())) };
                    if sender.send(message).await.is_err() || escaped {
                        break Ok(());
                    }
                }
                Err(error) => break Err(Failure::Local(format!("cannot read from the terminal: {error}"))),
            },
        }
    };
    drop(raw);
    if terminal {
        tell!("");
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_escapes() {
        assert_eq!(until_escape(b"ab\x1dc", true), (&b"ab"[..], true));
        assert_eq!(until_escape(b"ab\x1dc", false), (&b"ab\x1dc"[..], false));
    }
}
