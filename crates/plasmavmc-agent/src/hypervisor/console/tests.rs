use std::time::Duration;

use proptest::prelude::*;
use tokio::net::UnixListener;

use super::*;

fn console(directory: &tempfile::TempDir) -> Arc<Console> {
    Arc::new(Console::new(directory.path().join("console")))
}

#[tokio::test]
async fn who_comes_later_sees_what_was_printed_last_and_then_everything() {
    let directory = tempfile::tempdir().unwrap();
    let console = console(&directory);
    console.printed(b"login: ");
    let (recent, mut output) = console.watch();
    assert_eq!(recent, b"login: ");
    console.printed(b"root");
    assert_eq!(&*output.recv().await.unwrap(), b"root");
}

#[tokio::test]
async fn a_slow_watcher_loses_output_and_nobody_else_does() {
    let directory = tempfile::tempdir().unwrap();
    let console = console(&directory);
    let (_, mut slow) = console.watch();
    for _ in 0..PIECES_QUEUED + 10 {
        console.printed(b"x");
    }
    assert!(matches!(
        slow.recv().await,
        Err(broadcast::error::RecvError::Lagged(10))
    ));
    assert_eq!(console.watch().0.len(), PIECES_QUEUED + 10);
}

#[tokio::test]
async fn reads_and_types_through_the_socket_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let console = console(&directory);
    let uid = nix::unistd::getuid().as_raw();
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(20));
    let task = tokio::spawn(attach(console.clone(), socket.clone(), uid, backoff));
    let (_, mut output) = console.watch();
    let listener = UnixListener::bind(&socket).unwrap();
    for round in [b"one", b"two"] {
        let (mut guest, _) = listener.accept().await.unwrap();
        guest.write_all(round).await.unwrap();
        assert_eq!(&*output.recv().await.unwrap(), round);
        console.type_in(b"ls\n".to_vec());
        let mut typed = [0_u8; 3];
        guest.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"ls\n");
    }
    task.abort();
}

#[tokio::test]
async fn what_waits_for_a_guest_that_does_not_read_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let console = console(&directory);
    for _ in 0..10 {
        console.type_in(vec![b'x'; INPUT_LIMIT / 4]);
    }
    assert_eq!(console.waiting.load(Ordering::Relaxed), INPUT_LIMIT);
    // What is taken makes room.
    let mut typed = console.typed.lock().await;
    console.next_typed(&mut typed).await.unwrap();
    console.type_in(vec![b'y'; INPUT_LIMIT / 4]);
    assert_eq!(console.waiting.load(Ordering::Relaxed), INPUT_LIMIT);
    for _ in 0..4 {
        console.next_typed(&mut typed).await.unwrap();
    }
    assert_eq!(console.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_socket_of_somebody_else_is_not_talked_to() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let other = nix::unistd::getuid().as_raw() + 1;
    let error = connect_as(&socket, other).await.unwrap_err();
    assert!(matches!(error, ControlError::WrongPeer { .. }), "{error}");
}

proptest! {
    #[test]
    fn the_end_of_the_output_outlives_the_agent(
        pieces in prop::collection::vec((any::<u8>(), 1..9000_usize), 0..60),
        restart_after in 0..60_usize,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console");
        let mut all = Vec::new();
        let mut console = Console::new(path.clone());
        for (at, (byte, count)) in pieces.iter().enumerate() {
            if at == restart_after {
                console = Console::new(path.clone());
            }
            let piece = vec![*byte; *count];
            console.printed(&piece);
            all.extend(piece);
        }
        let kept = &all[all.len().saturating_sub(RECENT_LIMIT)..];
        prop_assert!(console.watch().0 == kept);
        prop_assert!(Console::new(path.clone()).watch().0 == kept);
        prop_assert!(std::fs::metadata(&path).unwrap().len() <= FILE_LIMIT + 9000);
    }
}
