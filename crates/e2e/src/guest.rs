//! Talking to a test guest over its serial console, whoever carries that: the Console call of PlasmaVMC, or a
//! socket on a host. The guest's init says what it has to say in lines that begin with `PHOTON-GUEST`, and then
//! gives a shell (`crates/xtask/assets/guest/init.sh`).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, timeout_at};

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
    /// In every mark of this console: one that is opened later may be shown what was said on it before.
    tag: String,
    /// Whether the guest was up before this console was open, so that its first words are not known.
    joined_late: bool,
    /// Whether the guest's shell reads lines without echo and prompt.
    plain: bool,
}

impl<L: Line> Guest<L> {
    /// A guest that is watched from its start.
    pub fn on(line: L) -> Self {
        Guest {
            line,
            transcript: String::new(),
            answered: 0,
            commands: 0,
            // The standard library's random seed: other consoles have another.
            tag: format!("{:016x}", RandomState::new().build_hasher().finish()),
            joined_late: false,
            plain: false,
        }
    }

    /// A guest that may have been up for a while.
    pub fn running(line: L) -> Self {
        Guest {
            joined_late: true,
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
        while self.joined_late {
            if let Some(lease) = find(&self.transcript) {
                return Ok(lease);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // What the console did not carry, the guest wrote down; it gets into the transcript here.
            self.run("cat /run/lease", left).await?;
            if left < ASK_AGAIN {
                break;
            }
            if let Ok(lease) = self.told("lease", ASK_AGAIN, find).await {
                return Ok(lease);
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.told("lease", left, find).await
    }

    /// Waits until the guest's shell takes commands.
    pub async fn ready(&mut self, limit: Duration) -> Result<()> {
        if self.plain {
            return Ok(());
        }
        let deadline = Instant::now() + limit;
        if !self.joined_late {
            self.told("word that it is ready", limit, |text| {
                marked(text, "ready ").next().map(drop)
            })
            .await?;
        }
        // From an interactive shell to one whose only output is that of commands: with echo, what is
        // typed while a command still prints would stand amid its output.
        let plain = format!("plain shell {}", self.tag);
        let switch = format!(
            "stty -echo; printf 'PHOTON-%s\\n' 'GUEST {plain}'; \
             exec sh -c 'while read -r line; do eval \"$line\"; done'\n"
        );
        loop {
            self.line.send(switch.as_bytes()).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            let switched = self
                .told("plain shell", left.min(ASK_AGAIN), |text| {
                    marked(text, &plain).next().map(drop)
                })
                .await;
            match switched {
                Ok(()) => break,
                // What is typed before a booting guest opens its console is lost.
                Err(_) if left > ASK_AGAIN => {}
                Err(error) => return Err(error),
            }
        }
        self.plain = true;
        Ok(())
    }

    /// Runs a command in the guest; its exit status and what it printed.
    pub async fn run(&mut self, command: &str, limit: Duration) -> Result<(i32, String)> {
        let deadline = Instant::now() + limit;
        self.ready(limit).await?;
        self.commands += 1;
        let number = format!("{}-{}", self.tag, self.commands);
        let typed = format!(
            "printf '\\n{MARK}begin {number}\\n'; eval {} </dev/null 2>&1; \
             printf '\\n{MARK}end {number} %d\\n' $?\n",
            quote(&command.replace('\n', "; "))
        );
        self.line.send(typed.as_bytes()).await?;
        let from = self.answered;
        let left = deadline.saturating_duration_since(Instant::now());
        let (status, output, end) = self
            .told(&format!("answer to `{command}`"), left, move |text| {
                answer(&text[from..], &number)
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

/// None for a line that isn't whole: a terminal's echo of what is typed meanwhile may stand amid it.
fn parse_lease(said: &str) -> Option<Lease> {
    let mut words = said.split(' ');
    let address = words.next()?.to_owned();
    let (ip, length) = address.split_once('/')?;
    let _: (Ipv4Addr, u8) = (ip.parse().ok()?, length.parse().ok()?);
    let mut value = |name: &str| {
        let (key, value) = words.next()?.split_once('=')?;
        (key == name).then(|| value.to_owned())
    };
    let lease = Lease {
        gateway: value("gw")?,
        interface: value("iface")?,
        mac: value("mac")?,
        address,
    };
    let routed = lease.gateway == "none" || lease.gateway.parse::<Ipv4Addr>().is_ok();
    let pair = |part: &str| part.len() == 2 && part.bytes().all(|it| it.is_ascii_hexdigit());
    let whole = lease.mac.split(':').count() == 6 && lease.mac.split(':').all(pair);
    (routed && whole && words.next().is_none()).then_some(lease)
}

/// Status, output, and where in `text` the answer to this command ends.
fn answer(text: &str, number: &str) -> Option<(i32, String, usize)> {
    let begin = format!("\n{MARK}begin {number}\n");
    let end = format!("\n{MARK}end {number} ");
    let output = text.find(&begin)? + begin.len();
    // From the last byte of the first mark: a command that prints nothing ends in that very line.
    let tail = output - 1 + text[output - 1..].find(&end)?;
    let (status, _) = text[tail + end.len()..].split_once('\n')?;
    let printed = text.get(output..tail).unwrap_or_default();
    Some((
        status.trim().parse().ok()?,
        printed.trim_end().to_owned(),
        tail + end.len() + status.len(),
    ))
}

/// One word of a shell's command, whatever is in it.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
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
        for echoed in ["01GUEST plain shell 4a", "0", ""] {
            let mangled = text.replace(":01", &format!(":{echoed}"));
            assert_eq!(marked(&mangled, "lease ").find_map(parse_lease), None);
        }
    }

    #[test]
    fn an_answer_is_what_was_printed() {
        let text = "\nPHOTON-GUEST begin 3\nhello\nthere\n\nPHOTON-GUEST end 3 0\n\nPHOTON-GUEST begin 4\n";
        let (status, output, end) = answer(text, "3").unwrap();
        assert_eq!((status, output.as_str()), (0, "hello\nthere"));
        assert_eq!(&text[end..], "\n\nPHOTON-GUEST begin 4\n");
        assert_eq!(answer(text, "4"), None);
    }

    #[test]
    fn a_silent_command_has_an_empty_answer() {
        let text = "\nPHOTON-GUEST begin 1\n\nPHOTON-GUEST end 1 1\n";
        let (status, output, _) = answer(text, "1").unwrap();
        assert_eq!((status, output.as_str()), (1, ""));
    }
}
