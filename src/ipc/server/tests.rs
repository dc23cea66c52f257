//! The server against hostile and clumsy clients. Clients are plain sockets in the same process.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as BlockingStream;

use super::*;
use crate::cluster::view::NodeView;
use crate::ipc::frame::FrameDecoder;

fn view() -> ClusterView {
    ClusterView {
        local: "node1".into(),
        resource_status: "local".into(),
        nodes: vec![NodeView { name: "node1".into(), status: "active".into(), ..NodeView::default() }],
        ..ClusterView::default()
    }
}

fn parameters() -> Parameters {
    let own = requests::ApiAuth {
        client: "anon".into(),
        uids: vec![nix::unistd::geteuid().as_raw()],
        gids: Vec::new(),
    };
    let named = requests::ApiAuth { client: "ipfail".into(), ..own.clone() };
    Parameters { api_auth: vec![own, named], ..Parameters::default() }
}

fn request(kind: &str, id: &str) -> Message {
    let message = Message::new("hbapi-req")
        .with("reqtype", kind)
        .with("pid", &std::process::id().to_string())
        .with("from_id", id);
    match kind {
        "signon" => message
            .with("uid", &nix::unistd::geteuid().to_string())
            .with("gid", &nix::unistd::getegid().to_string()),
        _ => message,
    }
}

fn bytes(message: &Message) -> Vec<u8> {
    encode_frame(&codec::encode_api(message)).unwrap()
}

fn casual() -> String {
    std::process::id().to_string()
}

/// Serves until `done`, and fails the test when that takes longer than ten seconds.
async fn serve(server: &mut Server, mut done: impl FnMut(&Server, &ClientEvent) -> bool) -> ClientEvent {
    let (view, parameters) = (view(), parameters());
    let work = async {
        loop {
            let event = server.next().await;
            if let ClientEvent::Request { client, message } = &event {
                let _ = server.handle(*client, message, &view, &parameters);
            }
            if done(server, &event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("nothing happened for 10 s")
}

fn is_gone(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::Gone { .. })
}

fn reason(event: &ClientEvent) -> &str {
    match event {
        ClientEvent::Gone { reason, .. } => reason,
        ClientEvent::Request { .. } => "",
    }
}

/// A server in a directory of its own, run on the test's thread.
fn with_server<F: AsyncFnOnce(Server, &Path)>(limits: Limits, test: F) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("register");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { test(Server::bind_with(&path, limits).unwrap(), &path).await });
}

fn connect(path: &Path) -> BlockingStream {
    BlockingStream::connect(path).unwrap()
}

/// Signs on and takes the reply off the socket.
async fn signed_on(server: &mut Server, path: &Path, id: &str) -> BlockingStream {
    let mut stream = connect(path);
    stream.write_all(&bytes(&request("signon", id))).unwrap();
    serve(server, |_, event| matches!(event, ClientEvent::Request { .. })).await;
    assert_eq!(receive(&mut stream).text("result"), Some("OK"));
    stream
}

fn receive(stream: &mut BlockingStream) -> Message {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut decoder = FrameDecoder::new();
    let mut byte = [0; 1];
    loop {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed");
        decoder.push(&byte);
        if let Some(body) = decoder.next_frame().unwrap() {
            return codec::decode_local(&body).unwrap();
        }
    }
}

#[test]
fn a_stale_socket_is_replaced_and_anything_else_is_left_alone() {
    with_server(Limits::default(), async |server, path| {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o777);
        drop(server);
        let again = Server::bind(path).unwrap();
        connect(path);
        drop(again);
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, "precious").unwrap();
        assert!(Server::bind(path).is_err());
        assert_eq!(std::fs::read(path).unwrap(), b"precious");
    });
}

#[test]
fn garbage_closes_only_its_own_connection() {
    with_server(Limits::default(), async |mut server, path| {
        let mut good = signed_on(&mut server, path, &casual()).await;
        let huge = [i32::MAX.to_ne_bytes(), 0xabcd_i32.to_ne_bytes()].concat();
        let negative = [(-5_i32).to_ne_bytes(), 0xabcd_i32.to_ne_bytes()].concat();
        let no_message = encode_frame(b"nothing of sense").unwrap();
        for bad in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), huge, negative, no_message] {
            let mut stream = connect(path);
            stream.write_all(&bad).unwrap();
            serve(&mut server, |_, event| is_gone(event)).await;
            assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
        }
        good.write_all(&bytes(&request("getrsc", &casual()))).unwrap();
        serve(&mut server, |_, event| !is_gone(event)).await;
        assert_eq!(receive(&mut good).text("rsc_hold"), Some("local"));
    });
}

#[test]
fn joined_and_split_requests_are_all_answered() {
    with_server(Limits::default(), async |mut server, path| {
        let mut stream = signed_on(&mut server, path, &casual()).await;
        let stream_bytes =
            [bytes(&request("getrsc", &casual())), bytes(&request("numnodes", &casual()))].concat();
        stream.write_all(&stream_bytes[..stream_bytes.len() - 3]).unwrap();
        serve(&mut server, |_, _| true).await;
        assert_eq!(receive(&mut stream).text("reqtype"), Some("getrsc"));
        stream.write_all(&stream_bytes[stream_bytes.len() - 3..]).unwrap();
        serve(&mut server, |_, _| true).await;
        assert_eq!(receive(&mut stream).text("reqtype"), Some("numnodes"));
    });
}

#[test]
fn half_frames_and_silent_connections_end_by_their_time_limits() {
    let limits = Limits { sign_on_ms: 150, half_frame_ms: 60, ..Limits::default() };
    with_server(limits, async |mut server, path| {
        let mut half = signed_on(&mut server, path, &casual()).await;
        let _silent = connect(path);
        half.write_all(&[9, 0]).unwrap();
        let mut gone = 0;
        serve(&mut server, |_, event| {
            gone += usize::from(is_gone(event));
            gone == 2
        })
        .await;
        assert_eq!(server.connections(), 0);
    });
}

#[test]
fn a_client_that_never_reads_is_removed_when_its_queue_is_full() {
    with_server(Limits::default(), async |mut server, path| {
        let _deaf = signed_on(&mut server, path, &casual()).await;
        let message = Message::new("status").with("st", &"x".repeat(8000));
        let mut sent = 0;
        while server.connections() == 1 {
            server.deliver(&message, false);
            sent += 1;
            assert!(sent < 1000, "nothing bounds the queue");
        }
        let event = serve(&mut server, |_, event| is_gone(event)).await;
        assert!(reason(&event).contains("sendq length=64(max is 64)"), "{event:?}");
    });
}

#[test]
fn a_client_that_asks_but_never_reads_gets_no_more_answers_and_is_removed() {
    let limits = Limits { stall_ms: 100, ..Limits::default() };
    with_server(limits, async |mut server, path| {
        let deaf = signed_on(&mut server, path, &casual()).await;
        deaf.set_nonblocking(true).unwrap();
        let question = bytes(&request("nodelist", &casual()));
        let event = serve(&mut server, |_, event| {
            while (&deaf).write(&question).is_ok_and(|count| count == question.len()) {}
            is_gone(event)
        });
        // the first event needs a first question
        (&deaf).write_all(&question).unwrap();
        assert!(is_gone(&event.await));
    });
}

#[test]
fn a_thousand_connections_leave_room_for_a_real_client() {
    with_server(Limits { clients_max: 20, ..Limits::default() }, async |mut server, path| {
        let mut crowd = Vec::new();
        for _ in 0..1000 {
            crowd.push(connect(path));
            let _ = tokio::time::timeout(Duration::from_micros(100), server.next()).await;
            assert!(server.connections() <= 20);
            if crowd.len() > 200 {
                crowd.drain(..100);
            }
        }
        let mut good = connect(path);
        good.write_all(&bytes(&request("signon", &casual()))).unwrap();
        serve(&mut server, |_, event| matches!(event, ClientEvent::Request { .. })).await;
        assert_eq!(receive(&mut good).text("result"), Some("OK"));
    });
}

#[test]
fn nothing_is_answered_before_signon_and_refusals_close() {
    with_server(Limits::default(), async |mut server, path| {
        let mut stream = connect(path);
        stream.write_all(&bytes(&request("getrsc", &casual()))).unwrap();
        serve(&mut server, |_, _| true).await;
        stream.write_all(&bytes(&request("signon", "stranger"))).unwrap();
        serve(&mut server, |_, _| true).await;
        let reply = receive(&mut stream);
        assert_eq!(reply.text("info"), Some("no default client auth"));
        assert_eq!(reply.text("result"), Some("badreq"));
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn filters_and_addresses_decide_who_gets_a_message() {
    with_server(Limits::default(), async |mut server, path| {
        let mut casual_client = signed_on(&mut server, path, &casual()).await;
        let mut named = signed_on(&mut server, path, "ipfail").await;
        assert_eq!(server.online().len(), 2);
        server.deliver(&Message::new("status").with("n", "unchanged"), true);
        server.deliver(&Message::new("NS_ackmsg").with("n", "protocol"), false);
        server.deliver(&Message::new("num_ping_nodes").with("to_id", "ipfail"), false);
        server.deliver(&Message::new("status").with("n", "changed"), false);
        assert_eq!(receive(&mut named).kind(), "num_ping_nodes");
        assert_eq!(receive(&mut named).text("n"), Some("changed"));
        assert_eq!(receive(&mut casual_client).text("n"), Some("changed"));
    });
}

#[test]
fn a_named_client_is_announced_and_its_messages_carry_its_name() {
    with_server(Limits::default(), async |mut server, path| {
        let (view, parameters) = (view(), parameters());
        let mut stream = connect(path);
        stream.write_all(&bytes(&request("signon", "ipfail"))).unwrap();
        let ClientEvent::Request { client, message } = server.next().await else { panic!("no request") };
        let joined = server.handle(client, &message, &view, &parameters);
        assert_eq!(joined, Some(Demand::Joined("ipfail".into())));
        stream.write_all(&bytes(&Message::new("hello").with("to_id", "other"))).unwrap();
        let ClientEvent::Request { client, message } = server.next().await else { panic!("no request") };
        let Some(Demand::ClusterMessage(message)) = server.handle(client, &message, &view, &parameters)
        else {
            panic!("no message")
        };
        assert_eq!((message.text("from_id"), message.text("to_id")), (Some("ipfail"), Some("ipfail")));
        drop(stream);
        let ClientEvent::Gone { name, reason, .. } = server.next().await else { panic!("not gone") };
        assert_eq!((name.as_deref(), reason.as_str()), (Some("ipfail"), "EOF"));
    });
}
