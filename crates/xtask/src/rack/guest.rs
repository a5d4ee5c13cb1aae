//! Talking to the test guest (`images::guest`) over its serial console, whoever carries that: a
//! socket in a host, or the Console call of PlasmaVMC.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, timeout_at};

use super::session::Session;

/// What every line begins with that the guest's init has to say.
const MARK: &str = "PHOTON-GUEST ";

/// A guest that is still booting takes what is typed when its shell begins.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// A byte stream to and from a serial line.
pub trait Line: Send {
    fn send(&mut self, bytes: &[u8]) -> impl Future<Output = Result<()>> + Send;
    /// At least one byte; an error at the end of the stream.
    fn receive(&mut self) -> impl Future<Output = Result<Vec<u8>>> + Send;
}

impl Line for Session {
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes).await
    }

    async fn receive(&mut self) -> Result<Vec<u8>> {
        self.read().await
    }
}

/// What a guest got by DHCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// With the prefix length, as `10.0.1.10/24`.
    pub address: String,
    pub gateway: String,
    pub interface: String,
    pub mac: String,
}

/// A guest's console. One command at a time: the guest has one shell there.
pub struct Guest<L> {
    line: L,
    /// Everything that was received, from the start.
    transcript: String,
    /// Up to here, answers to commands were taken out of the transcript.
    answered: usize,
    commands: u32,
    ready: bool,
}

impl<L: Line> Guest<L> {
    /// A guest that is watched from its start.
    pub fn on(line: L) -> Self {
        Guest {
            line,
            transcript: String::new(),
            answered: 0,
            commands: 0,
            ready: false,
        }
    }

    /// A guest that has been up for a while: what it said before this is not known.
    pub fn running(line: L) -> Self {
        Guest {
            ready: true,
            ..Self::on(line)
        }
    }

    /// All that the guest has said so far, for those who want to know why it said nothing else.
    pub fn transcript(&self) -> &str {
        &self.transcript
    }

    /// Waits for a lease; one that the guest already told of counts, so it may be asked at any time.
    pub async fn lease(&mut self, limit: Duration) -> Result<Lease> {
        let find = |text: &str| marked(text, "lease ").find_map(parse_lease);
        let deadline = Instant::now() + limit;
        // Where the console did not carry it, the guest is asked for what it wrote down.
        while self.ready && Instant::now() + ASK_AGAIN < deadline {
            if let Ok(lease) = self.told("lease", ASK_AGAIN, find).await {
                return Ok(lease);
            }
            self.line.send(b"cat /run/lease\n").await?;
        }
        self.told("lease", deadline - Instant::now(), find).await
    }

    /// Waits until the guest's shell takes commands.
    pub async fn ready(&mut self, limit: Duration) -> Result<()> {
        if !self.ready {
            self.told("word that it is ready", limit, |text| {
                marked(text, "ready ").next().map(drop)
            })
            .await?;
            self.ready = true;
        }
        Ok(())
    }

    /// Runs a command in the guest; its exit status and what it printed.
    pub async fn run(&mut self, command: &str, limit: Duration) -> Result<(i32, String)> {
        self.ready(limit).await?;
        self.commands += 1;
        let number = self.commands;
        // The marks are put together by the guest, so that the echo of this line does not contain them.
        let typed = format!(
            "printf '\\nPHOTON-%s {number}\\n' 'GUEST begin'; {command}\n\
             printf '\\nPHOTON-%s {number} %d\\n' 'GUEST end' $?\n"
        );
        self.line.send(typed.as_bytes()).await?;
        let from = self.answered;
        let (status, output, end) = self
            .told(&format!("answer to `{command}`"), limit, move |text| {
                answer(&text[from..], number)
                    .map(|(status, output, end)| (status, output, from + end))
            })
            .await?;
        self.answered = end;
        Ok((status, output))
    }

    /// Runs a command that must succeed.
    pub async fn check(&mut self, command: &str, limit: Duration) -> Result<String> {
        match self.run(command, limit).await? {
            (0, output) => Ok(output),
            (status, output) => {
                bail!("in the guest, `{command}` ended with {status}:\n{output}")
            }
        }
    }

    async fn told<T>(
        &mut self,
        what: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = find(&self.transcript) {
                return Ok(found);
            }
            let received = match timeout_at(deadline, self.line.receive()).await {
                Ok(received) => received,
                Err(_) => bail!(
                    "no {what} from the guest within {} s; it said:\n{}",
                    limit.as_secs_f64(),
                    self.transcript
                ),
            };
            let bytes = received.with_context(|| {
                format!(
                    "no {what} from the guest, its console is closed; it said:\n{}",
                    self.transcript
                )
            })?;
            // A serial line ends its lines with CR and LF.
            let text = String::from_utf8_lossy(&bytes).replace('\r', "");
            self.transcript.push_str(&text);
        }
    }
}

/// What follows the mark and `word`, in the lines that have both and are complete.
fn marked<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        // Something that a shell printed without a line's end may stand before the mark.
        .filter_map(|line| line.split_once(MARK).map(|(_, said)| said))
        .filter_map(move |said| said.strip_prefix(word))
}

fn parse_lease(said: &str) -> Option<Lease> {
    let mut words = said.split(' ');
    let address = words.next()?.to_owned();
    let mut value = |name: &str| {
        let (key, value) = words.next()?.split_once('=')?;
        (key == name).then(|| value.to_owned())
    };
    Some(Lease {
        address,
        gateway: value("gw")?,
        interface: value("iface")?,
        mac: value("mac")?,
    })
}

/// Status, output, and where in `text` the answer to this command ends.
fn answer(text: &str, number: u32) -> Option<(i32, String, usize)> {
    let begin = format!("\n{MARK}begin {number}\n");
    let end = format!("\n{MARK}end {number} ");
    let output = text.find(&begin)? + begin.len();
    // From the last byte of the first mark: a command that prints nothing ends in that very line.
    let tail = output - 1 + text[output - 1..].find(&end)?;
    let (status, _) = text[tail + end.len()..].split_once('\n')?;
    let printed = text.get(output..tail).unwrap_or_default();
    // The prompt and the echo of the second line stand in the last line before the mark.
    let printed = match printed.rfind("printf '\\nPHOTON-") {
        Some(echo) => printed[..echo]
            .rsplit_once('\n')
            .map_or("", |(kept, _)| kept),
        None => printed,
    };
    Some((
        status.trim().parse().ok()?,
        printed.trim_end().to_owned(),
        tail + end.len() + status.len(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_from_a_complete_line_only() {
        let line = "PHOTON-GUEST lease 10.0.1.10/24 gw=10.0.1.1 iface=eth0 mac=fa:16:3e:00:00:01";
        assert_eq!(marked(line, "lease ").next(), None);
        let text = format!("noise\n~ # {line}\nmore\n");
        let lease = marked(&text, "lease ").find_map(parse_lease).unwrap();
        assert_eq!(lease.address, "10.0.1.10/24");
        assert_eq!(lease.gateway, "10.0.1.1");
        assert_eq!(lease.mac, "fa:16:3e:00:00:01");
    }

    #[test]
    fn an_answer_is_what_was_printed_without_the_echo() {
        let text = "/ # printf '\\nPHOTON-%s 3\\n' 'GUEST begin'; echo hello\n\nPHOTON-GUEST begin 3\nhello\n\
                    / # printf '\\nPHOTON-%s 3 %d\\n' 'GUEST end' $?\n\nPHOTON-GUEST end 3 0\n/ # ";
        let (status, output, end) = answer(text, 3).unwrap();
        assert_eq!((status, output.as_str()), (0, "hello"));
        assert_eq!(&text[end..], "\n/ # ");
        assert_eq!(answer(text, 4), None);
    }

    #[test]
    fn a_silent_command_has_an_empty_answer() {
        let text = "\nPHOTON-GUEST begin 1\n\nPHOTON-GUEST end 1 1\n";
        let (status, output, _) = answer(text, 1).unwrap();
        assert_eq!((status, output.as_str()), (1, ""));
    }
}
