use hickory_proto::op::Query;
use hickory_proto::rr::Name;
use photon_names::Contents;
use proptest::prelude::*;

use super::*;

/// `db` with as many addresses.
fn view(addresses: u8) -> View {
    let addresses = (0..addresses).map(|n| [10, 0, 1, n].into());
    let told = Contents {
        networks: vec!["10.0.1.0/24".parse().unwrap()],
        names: [("db.web.acme".to_owned(), addresses.collect())].into(),
        ..Contents::default()
    };
    View::of(&told, "cloud.internal", &[])
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn db() -> Message {
    query("db.web.acme.cloud.internal.", RecordType::A)
}

fn with_payload(mut message: Message, bytes: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(bytes);
    message.edns = Some(edns);
    message
}

/// What is sent, if nobody else is asked.
fn sent(view: &View, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
    match answer(view, request, transport) {
        Answer::Now(bytes) | Answer::Foreign(bytes) => Some(bytes),
        Answer::Alias(unfinished, _) => unfinished.finished(),
        Answer::Nothing => None,
    }
}

fn ask(view: &View, message: &Message, transport: Transport) -> Message {
    let bytes = sent(view, &message.to_vec().unwrap(), transport).unwrap();
    Message::from_vec(&bytes).unwrap()
}

/// 16 is BADVERS, and BADSIG where there are signatures (RFC 6895 section 2.3), for which the parser takes it.
fn code(request: &[u8]) -> ResponseCode {
    let bytes = sent(&view(1), request, Transport::Udp).unwrap();
    match Message::from_vec(&bytes).unwrap().metadata.response_code {
        ResponseCode::BADSIG => ResponseCode::BADVERS,
        code => code,
    }
}

#[test]
fn an_answer_has_its_question() {
    let answer = ask(&view(1), &db(), Transport::Udp);
    assert_eq!(answer.metadata.id, 7);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
    assert_eq!(answer.queries, db().queries);
    assert_eq!(answer.answers.len(), 1);
    assert!(answer.edns.is_none());
}

#[test]
fn what_is_too_long_for_udp_comes_by_tcp() {
    let view = view(200);
    for (message, transport, whole) in [
        (db(), Transport::Udp, false),
        (with_payload(db(), 4096), Transport::Udp, false),
        (db(), Transport::Tcp, true),
    ] {
        let answer = ask(&view, &message, transport);
        assert_eq!(answer.metadata.truncation, !whole);
        assert_eq!(answer.answers.len(), if whole { 200 } else { 0 });
    }
    // 40 addresses are 690 bytes: more than is said without EDNS, less than goes in one piece.
    let view = self::view(40);
    assert!(ask(&view, &db(), Transport::Udp).metadata.truncation);
    let answer = ask(&view, &with_payload(db(), 1232), Transport::Udp);
    assert!(!answer.metadata.truncation);
    assert_eq!(answer.edns.unwrap().max_payload(), MOST_UDP);
}

#[test]
fn what_is_no_question_for_an_address_is_refused() {
    for (kind, expected) in [
        (RecordType::AXFR, ResponseCode::Refused),
        (RecordType::IXFR, ResponseCode::Refused),
        (RecordType::NS, ResponseCode::NoError),
    ] {
        let message = query("cloud.internal.", kind);
        assert_eq!(code(&message.to_vec().unwrap()), expected, "{kind}");
    }
    for (op_code, expected) in [
        (OpCode::Update, ResponseCode::Refused),
        (OpCode::Notify, ResponseCode::Refused),
        (OpCode::Status, ResponseCode::NotImp),
        (OpCode::Unknown(9), ResponseCode::NotImp),
    ] {
        let mut bytes = db().to_vec().unwrap();
        bytes[2] = bytes[2] & !0x78 | u8::from(op_code) << 3;
        assert_eq!(code(&bytes), expected, "{op_code}");
    }
    let mut two = db();
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two.to_vec().unwrap()), ResponseCode::FormErr);
    assert_eq!(
        code(
            &Message::new(7, MessageType::Query, OpCode::Query)
                .to_vec()
                .unwrap()
        ),
        ResponseCode::FormErr
    );
    let mut chaos = db();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos.to_vec().unwrap()), ResponseCode::Refused);
    let mut cut = db().to_vec().unwrap();
    cut.pop();
    assert_eq!(code(&cut), ResponseCode::FormErr);
    let mut later = with_payload(db(), 1232);
    later.edns.as_mut().unwrap().set_version(1);
    assert_eq!(code(&later.to_vec().unwrap()), ResponseCode::BADVERS);
}

#[test]
fn an_answer_is_not_answered() {
    let answered = sent(&view(1), &db().to_vec().unwrap(), Transport::Udp).unwrap();
    assert_eq!(sent(&view(1), &answered, Transport::Udp), None);
    assert_eq!(sent(&view(1), &[0; 11], Transport::Udp), None);
}

proptest! {
    /// Whatever a guest sends, nothing breaks, and by UDP nothing long comes back.
    #[test]
    fn anything_may_come(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let view = view(200);
        if let Some(answer) = sent(&view, &bytes, Transport::Udp) {
            prop_assert!(answer.len() <= MOST_UDP.into());
            prop_assert_eq!(&answer[..2], &bytes[..2]);
        }
    }

    /// The same of what looks like a question.
    #[test]
    fn a_damaged_question_is_answered_or_not(
        at in 0..50_usize, byte in any::<u8>(), cut in 0..60_usize,
    ) {
        let mut bytes = with_payload(db(), 1232).to_vec().unwrap();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % length);
        if let Some(answer) = sent(&view(200), &bytes, Transport::Udp) {
            prop_assert!(answer.len() <= MOST_UDP.into());
        }
    }
}
