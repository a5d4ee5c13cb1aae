use proptest::prelude::*;

use super::*;
use crate::hypervisor::GuestEvent;

const SESSION: &str = concat!(
    r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}}, "capabilities": ["oob"]}}"#,
    "\r\n",
    r#"{"return": {}, "id": 1}"#,
    "\r\n",
    r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "NIC_RX_FILTER_CHANGED", "data": {}}"#,
    "\r\n",
    r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}"#,
    "\r\n",
    r#"{"id": 2, "error": {"class": "CommandNotFound", "desc": "The command is not there"}}"#,
    "\r\n",
);

fn session() -> Vec<Message> {
    vec![
        Message::Greeting,
        Message::Return {
            id: Some(1),
            value: serde_json::json!({}),
        },
        Message::Other,
        Message::Event(GuestEvent::Shutdown { by_guest: true }),
        Message::Error {
            id: Some(2),
            reason: "The command is not there".to_owned(),
        },
    ]
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_the_memory() {
    let mut decoder = Decoder::default();
    let chunk = vec![b' '; 64 * 1024];
    let refused = (0..100).find_map(|_| decoder.push(&chunk).err());
    assert_eq!(refused, Some(Malformed::TooLong));
}

#[test]
fn what_is_no_object_is_refused() {
    for line in ["[]\n", "7\n", "{\n", "\"QMP\"\n", "\u{0}\n"] {
        let result = Decoder::default().push(line.as_bytes());
        assert!(matches!(result, Err(Malformed::NotJson(_))), "{line:?}");
    }
}

proptest! {
    #[test]
    fn how_the_stream_is_cut_changes_nothing(cuts in prop::collection::vec(1_usize..40, 0..80)) {
        let mut rest = SESSION.as_bytes();
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            messages.extend(decoder.push(now).unwrap());
            rest = later;
        }
        messages.extend(decoder.push(rest).unwrap());
        prop_assert_eq!(messages, session());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Decoder::default().push(&bytes);
    }

    #[test]
    fn any_object_is_understood_somehow(key in "return|error|event|QMP|id|[a-z]{0,5}", text in "\\PC{0,20}") {
        let line = format!("{}\n", serde_json::json!({ key: text }));
        prop_assert_eq!(Decoder::default().push(line.as_bytes()).unwrap().len(), 1);
    }
}
