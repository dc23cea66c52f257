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
                let demand = server.handle(*client, message, &view, &parameters);
                if let Some(Demand::Joined { client, welcome, .. }) = demand {
                    server.send(client, &welcome);
                }
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
fn sockets_made_at_the_same_time_are_all_open_to_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let make = |thread: usize| {
        for round in 0..200 {
            let path = folder.path().join(format!("{thread}-{round}"));
            super::bind_for_all(&path).unwrap();
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o777);
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || make(thread)))));
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
        let member = Member { name: "ipfail".into(), generation: 0 };
        match joined {
            Some(Demand::Joined { member: who, welcome, .. }) => {
                assert_eq!(who, member);
                assert_eq!(welcome[0].text("result"), Some("OK"));
            }
            other => panic!("{other:?}"),
        }
        stream.write_all(&bytes(&Message::new("hello").with("to_id", "other"))).unwrap();
        let ClientEvent::Request { client, message } = server.next().await else { panic!("no request") };
        let Some(Demand::ClusterMessage(message)) = server.handle(client, &message, &view, &parameters)
        else {
            panic!("no message")
        };
        assert_eq!((message.text("from_id"), message.text("to_id")), (Some("ipfail"), Some("ipfail")));
        assert_eq!(message.text("client_gen"), Some("0"));
        drop(stream);
        let ClientEvent::Gone { member: gone, reason, .. } = server.next().await else { panic!("not gone") };
        assert_eq!((gone, reason.as_str()), (Some(member), "EOF"));
    });
}

/// The rest of the stream until it is closed, as messages.
fn receive_all(stream: &mut BlockingStream) -> Vec<Message> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut decoder, mut bytes) = (FrameDecoder::new(), Vec::new());
    stream.read_to_end(&mut bytes).unwrap();
    decoder.push(&bytes);
    std::iter::from_fn(|| decoder.next_frame().unwrap())
        .map(|body| codec::decode_local(&body).unwrap())
        .collect()
}

#[test]
fn who_signs_off_is_told_so_and_each_sign_on_has_its_own_number() {
    with_server(Limits::default(), async |mut server, path| {
        for generation in ["0", "1"] {
            let mut stream = signed_on(&mut server, path, "ipfail").await;
            stream.write_all(&bytes(&request("signoff", "ipfail"))).unwrap();
            serve(&mut server, |_, event| is_gone(event)).await;
            let farewell = receive_all(&mut stream);
            assert_eq!(farewell.len(), 1);
            let field = |name: &str| farewell[0].text(name).unwrap_or("?").to_owned();
            assert_eq!(farewell[0].kind(), "hbapi-clstat");
            assert_eq!([field("st"), field("from_id"), field("src")], ["leave", "ipfail", "node1"]);
            assert_eq!([field("info"), field("client_gen")], ["signoff", generation]);
        }
    });
}

#[test]
fn messages_of_named_clients_wait_while_paused_and_casual_ones_are_answered() {
    with_server(Limits { half_frame_ms: 50, ..Limits::default() }, async |mut server, path| {
        let mut named = signed_on(&mut server, path, "ipfail").await;
        let mut other = signed_on(&mut server, path, &casual()).await;
        server.set_paused(true);
        let message = bytes(&Message::new("hello"));
        named.write_all(&message[..9]).unwrap();
        named.write_all(&message[9..]).unwrap();
        other.write_all(&bytes(&request("getrsc", &casual()))).unwrap();
        let event = serve(&mut server, |_, _| true).await;
        assert!(matches!(&event, ClientEvent::Request { message, .. } if message.kind() == "hbapi-req"));
        assert_eq!(receive(&mut other).text("rsc_hold"), Some("local"));
        let quiet = tokio::time::timeout(Duration::from_millis(200), server.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        server.set_paused(false);
        let event = serve(&mut server, |_, _| true).await;
        assert!(matches!(&event, ClientEvent::Request { message, .. } if message.kind() == "hello"));
    });
}

#[test]
fn what_only_daemons_say_is_dropped_and_the_client_stays() {
    with_server(Limits::default(), async |mut server, path| {
        let mut stream = signed_on(&mut server, path, "ipfail").await;
        let done = Message::new("ask_resources").with("info", "done");
        let empty = Message::empty().with("x", "1");
        let forged = ["status", "shutdone", "resource", "starting", "repnodes", "NS_rexmit", "hbapi-resp"];
        for forged in forged.map(Message::new).into_iter().chain([done, empty]) {
            stream.write_all(&bytes(&forged.with("st", "dead").with("src", "node2"))).unwrap();
            let (view, parameters) = (view(), parameters());
            let ClientEvent::Request { client, message } = server.next().await else { panic!("gone") };
            assert_eq!(server.handle(client, &message, &view, &parameters), None);
        }
        assert_eq!(server.online(), ["ipfail"]);
    });
}

#[test]
fn requests_are_shown_to_who_watches_them() {
    with_server(Limits::default(), async |mut server, path| {
        let mut watcher = signed_on(&mut server, path, "ipfail").await;
        let mut other = signed_on(&mut server, path, &casual()).await;
        if !nix::unistd::geteuid().is_root() {
            return crate::skip::skip_without_privilege("only root may watch requests");
        }
        watcher.write_all(&bytes(&request("setfilter", "ipfail").with("fmask", "10"))).unwrap();
        serve(&mut server, |_, _| true).await;
        assert_eq!(receive(&mut watcher).text("result"), Some("OK"));
        other.write_all(&bytes(&request("numnodes", &casual()))).unwrap();
        serve(&mut server, |_, _| true).await;
        assert_eq!(receive(&mut watcher).text("reqtype"), Some("numnodes"));
    });
}
