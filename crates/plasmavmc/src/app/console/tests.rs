use super::*;

fn output(session: u64, bytes: &[u8]) -> FromHost {
    FromHost {
        session,
        output: bytes.to_vec(),
        closed: None,
    }
}

#[tokio::test]
async fn sessions_of_one_host_do_not_mix() {
    let hub = ConsoleHub::default();
    let (offer, mut host) = hub.offer("host");
    let (one, two) = (VmId::generate(), VmId::generate());
    let mut first = hub.open("host", one).await.unwrap();
    let mut second = hub.open("host", two).await.unwrap();
    let opened = host.recv().await.unwrap();
    assert_eq!(opened.what, Asked::Open(one));
    let other = host.recv().await.unwrap();
    assert_ne!(opened.session, other.session);
    offer.received(output(other.session, b"two"));
    offer.received(output(opened.session, b"one"));
    offer.received(output(999, b"nobody's"));
    assert_eq!(
        first.output.recv().await,
        Some(Output::Bytes(b"one".to_vec()))
    );
    assert_eq!(
        second.output.recv().await,
        Some(Output::Bytes(b"two".to_vec()))
    );
    first.input(b"ls\n".to_vec()).await.unwrap();
    let typed = host.recv().await.unwrap();
    let expected = ToHost {
        session: opened.session,
        what: Asked::Input(b"ls\n".to_vec()),
    };
    assert_eq!(typed, expected);
}

#[tokio::test]
async fn a_reader_that_goes_is_told_to_the_host() {
    let hub = ConsoleHub::default();
    let (_offer, mut host) = hub.offer("host");
    let session = hub.open("host", VmId::generate()).await.unwrap();
    let opened = host.recv().await.unwrap();
    drop(session);
    let closed = host.recv().await.unwrap();
    assert_eq!(closed.what, Asked::Close);
    assert_eq!(closed.session, opened.session);
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_holds_nobody_up() {
    let hub = ConsoleHub::default();
    let (offer, mut host) = hub.offer("host");
    let mut slow = hub.open("host", VmId::generate()).await.unwrap();
    let opened = host.recv().await.unwrap();
    for _ in 0..=OUTPUT_WAITING {
        offer.received(output(opened.session, b"x"));
    }
    assert_eq!(host.recv().await.unwrap().what, Asked::Close);
    let mut read = 0;
    while slow.output.recv().await.is_some() {
        read += 1;
    }
    assert_eq!(read, OUTPUT_WAITING);
}

#[tokio::test]
async fn a_host_that_connects_anew_ends_its_earlier_sessions_and_no_others() {
    let hub = ConsoleHub::default();
    let (earlier, _rest) = hub.offer("host");
    let mut before = hub.open("host", VmId::generate()).await.unwrap();
    let (offer, mut host) = hub.offer("host");
    assert!(
        matches!(before.output.recv().await, Some(Output::Closed(reason)) if reason.contains("anew"))
    );
    // The earlier stream's end is noticed late.
    let mut after = hub.open("host", VmId::generate()).await.unwrap();
    drop(earlier);
    drop(before);
    let opened = host.recv().await.unwrap();
    offer.received(FromHost {
        session: opened.session,
        output: Vec::new(),
        closed: Some("the VM has stopped".into()),
    });
    assert_eq!(
        after.output.recv().await,
        Some(Output::Closed("the VM has stopped".into()))
    );
    drop(offer);
    let error = hub.open("host", VmId::generate()).await.err().unwrap();
    assert!(error.to_string().contains("not connected"), "{error}");
}
