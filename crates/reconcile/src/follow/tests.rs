use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::stream;
use tokio::sync::mpsc;

use super::*;

/// Names of a zone, as a server would follow the ports that have them: nothing here is an agent's.
#[derive(Clone, Debug, Default, PartialEq)]
struct Names(BTreeMap<String, u8>);

#[derive(Clone, Debug)]
struct Message {
    part: Option<Part>,
    epoch: &'static str,
    revision: u64,
    given: Vec<(&'static str, u8)>,
    removed: Vec<&'static str>,
}

impl Followed for Names {
    type Message = Message;

    fn part(message: &Message) -> Option<(Part, Position)> {
        let position = Position {
            epoch: message.epoch.to_owned(),
            revision: message.revision,
        };
        Some((message.part?, position))
    }

    fn merge(&mut self, message: Message) -> bool {
        let mut news = false;
        for name in message.removed {
            news |= self.0.remove(name).is_some();
        }
        for (name, value) in message.given {
            news |= self.0.insert(name.to_owned(), value) != Some(value);
        }
        news
    }
}

const WHOLE: Part = Part::Whole;
const PIECE: Part = Part::Full { more: true };
const LAST: Part = Part::Full { more: false };
const CHANGE: Part = Part::Change { more: false };

fn message(part: Part, revision: u64, given: &[(&'static str, u8)]) -> Message {
    Message {
        part: Some(part),
        epoch: "one",
        revision,
        given: given.to_vec(),
        removed: Vec::new(),
    }
}

fn names(given: &[(&'static str, u8)]) -> Names {
    let given = given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value));
    Names(given.collect())
}

fn known(assembly: &Assembly<Names>) -> Option<(Names, u64)> {
    assembly
        .known()
        .map(|(state, at)| (state.clone(), at.revision))
}

#[test]
fn pieces_count_when_the_last_has_come_and_changes_touch_only_what_they_name() {
    let mut assembly = Assembly::<Names>::default();
    assert_eq!(
        assembly.take(message(PIECE, 5, &[("a", 1)])),
        Ok(Taken::Piece)
    );
    assert_eq!(known(&assembly), None, "half of it is not known");
    assert_eq!(
        assembly.take(message(LAST, 5, &[("b", 2)])),
        Ok(Taken::News)
    );
    assert_eq!(known(&assembly), Some((names(&[("a", 1), ("b", 2)]), 5)));

    let mut change = message(CHANGE, 6, &[("c", 3)]);
    change.removed = vec!["a"];
    assert_eq!(assembly.take(change), Ok(Taken::News));
    assert_eq!(known(&assembly), Some((names(&[("b", 2), ("c", 3)]), 6)));

    assert_eq!(assembly.take(message(CHANGE, 9, &[])), Ok(Taken::Progress));
    assert_eq!(known(&assembly), Some((names(&[("b", 2), ("c", 3)]), 9)));

    // A sender that knows no parts.
    assert_eq!(
        assembly.take(message(WHOLE, 10, &[("d", 4)])),
        Ok(Taken::News)
    );
    assert_eq!(known(&assembly), Some((names(&[("d", 4)]), 10)));
}

#[test]
fn a_change_in_pieces_counts_when_it_is_whole() {
    let mut assembly = Assembly::<Names>::default();
    assembly.take(message(LAST, 1, &[("a", 1)])).unwrap();
    let half = message(Part::Change { more: true }, 2, &[("a", 2)]);
    assert_eq!(assembly.take(half), Ok(Taken::Piece));
    assert_eq!(known(&assembly), Some((names(&[("a", 1)]), 1)));
    assembly.take(message(CHANGE, 2, &[("b", 2)])).unwrap();
    assert_eq!(known(&assembly), Some((names(&[("a", 2), ("b", 2)]), 2)));
}

#[test]
fn what_is_half_told_when_a_stream_ends_is_forgotten_and_what_was_known_is_not() {
    let mut assembly = Assembly::<Names>::default();
    assembly.take(message(LAST, 1, &[("a", 1)])).unwrap();
    assembly.take(message(PIECE, 2, &[("b", 2)])).unwrap();
    assembly.begin();
    assert_eq!(known(&assembly), Some((names(&[("a", 1)]), 1)));
    assembly.take(message(LAST, 3, &[("c", 3)])).unwrap();
    assert_eq!(known(&assembly), Some((names(&[("c", 3)]), 3)));
}

#[test]
fn what_can_not_follow_is_refused_and_then_everything_must_come_again() {
    let other_store = Message {
        epoch: "two",
        ..message(CHANGE, 9, &[("x", 1)])
    };
    let unknown = Message {
        part: None,
        ..message(CHANGE, 9, &[])
    };
    let back = Broken::Back { to: 4, from: 5 };
    for (wrong, expected) in [
        (other_store, Broken::OtherStore),
        (message(CHANGE, 4, &[("x", 1)]), back),
        (unknown, Broken::Unknown),
    ] {
        let mut assembly = Assembly::<Names>::default();
        let early = assembly.take(message(CHANGE, 5, &[("a", 1)]));
        assert_eq!(early, Err(Broken::WithoutState));
        assembly.take(message(LAST, 5, &[("a", 1)])).unwrap();
        assert_eq!(assembly.take(wrong), Err(expected));
        assert_eq!(known(&assembly), None);
        let next = assembly.take(message(CHANGE, 10, &[("b", 1)]));
        assert_eq!(next, Err(Broken::WithoutState));
        // Everything, of another store, at a revision that is lower.
        let anew = Message {
            epoch: "two",
            ..message(LAST, 2, &[("z", 1)])
        };
        assembly.take(anew).unwrap();
        assert_eq!(known(&assembly), Some((names(&[("z", 1)]), 2)));
    }
}

type Script = Vec<Result<Message, &'static str>>;

/// Plays a script for each stream, and tells what it is told.
struct Scripted {
    scripts: Mutex<std::vec::IntoIter<Script>>,
    told: mpsc::UnboundedSender<String>,
}

#[async_trait]
impl Feed for Scripted {
    type State = Names;
    type Error = &'static str;

    async fn open(
        &mut self,
        known: Option<&Position>,
    ) -> Result<BoxStream<'static, Result<Message, &'static str>>, &'static str> {
        self.tell(format!("open after {:?}", known.map(|at| at.revision)));
        match self.scripts.lock().unwrap().next() {
            Some(script) if script.is_empty() => Err("nobody is there"),
            Some(script) => Ok(stream::iter(script).boxed()),
            None => Ok(stream::pending().boxed()),
        }
    }

    async fn known(&mut self, state: &Names, at: &Position) {
        self.tell(format!("{} names at {}", state.0.len(), at.revision));
    }

    async fn progress(&mut self, at: &Position) {
        self.tell(format!("up to {}", at.revision));
    }

    async fn ended(&mut self, why: &Ended<&'static str>, _: Duration) {
        self.tell(why.to_string());
    }
}

impl Scripted {
    fn tell(&self, what: String) {
        self.told.send(what).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_through_everything_that_goes_wrong() {
    let scripts: Vec<Script> = vec![
        vec![],
        vec![
            Ok(message(PIECE, 1, &[("a", 1)])),
            Ok(message(LAST, 1, &[("b", 1)])),
            Ok(message(CHANGE, 2, &[("c", 1)])),
            Err("the connection broke"),
        ],
        // It could tell what changed since.
        vec![
            Ok(message(CHANGE, 3, &[("d", 1)])),
            Ok(message(CHANGE, 4, &[])),
        ],
        vec![Ok(message(CHANGE, 2, &[("e", 1)]))],
        vec![Ok(message(WHOLE, 1, &[("a", 1)]))],
        vec![Ok(message(CHANGE, 7, &[]))],
    ];
    let (told, mut telling) = mpsc::unbounded_channel();
    let feed = Scripted {
        scripts: Mutex::new(scripts.into_iter()),
        told,
    };
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(1));
    let following = tokio::spawn(follow(feed, backoff));
    let expected = [
        "open after None",
        "nobody is there",
        "open after None",
        // What has come together is told together.
        "3 names at 2",
        "the connection broke",
        "open after Some(2)",
        "4 names at 4",
        "the other side ended the stream",
        "open after Some(4)",
        "a change of revision 2 came after revision 4",
        "open after None",
        "1 names at 1",
        "the other side ended the stream",
        "open after Some(1)",
        "up to 7",
        "the other side ended the stream",
        "open after Some(7)",
    ];
    for expected in expected {
        assert_eq!(telling.recv().await.as_deref(), Some(expected));
    }
    following.abort();
}

/// More messages than are taken in together: none is lost.
#[tokio::test(start_paused = true)]
async fn a_flood_arrives_whole() {
    const NAMES: u64 = 2500;
    let named = |number: u64| -> &'static str { format!("n{number}").leak() };
    let mut script: Script = vec![Ok(message(LAST, 1, &[]))];
    script.extend((0..NAMES).map(|it| Ok(message(CHANGE, 2 + it, &[(named(it), 1)]))));
    let (told, mut telling) = mpsc::unbounded_channel();
    let feed = Scripted {
        scripts: Mutex::new(vec![script].into_iter()),
        told,
    };
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(1));
    let following = tokio::spawn(follow(feed, backoff));
    let last = format!("{NAMES} names at {}", NAMES + 1);
    let mut messages = 0;
    while telling.recv().await.unwrap() != last {
        messages += 1;
    }
    assert!(messages <= 4, "told {messages} times before");
    following.abort();
}
