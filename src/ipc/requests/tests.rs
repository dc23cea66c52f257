//! Answers compared, field by field and in order, with those of an original daemon.

use super::*;
use crate::cluster::view::LinkView;
use proptest::prelude::*;

const UUID: &str = "ecbe3e1a-7aa9-4c99-8b16-be0f3ae7d9f6";

fn view() -> ClusterView {
    let node = |name: &str, kind: &str| NodeView {
        name: name.into(),
        status: "active".into(),
        kind: kind.into(),
        weight: 100,
        links: vec![LinkView { name: "eth1".into(), status: "up".into(), last_packet_age_ms: None }],
        ..NodeView::default()
    };
    let mut nodes = vec![node("node1", "normal"), node("node2", "normal"), node("10.0.0.9", "ping")];
    nodes[0].uuid = Some(UUID.into());
    nodes[2].links.clear();
    ClusterView { local: "node1".into(), resource_status: "local".into(), nodes, ..ClusterView::default() }
}

fn parameters() -> Parameters {
    let mut api_auth = default_api_auth(Some(120));
    api_auth.push(ApiAuth { client: "ipfail".into(), uids: vec![103], gids: Vec::new() });
    Parameters {
        recorded: vec![("deadtime".into(), "1".into())],
        dead_time_ms: 1000,
        keepalive_ms: 100,
        version_text: "3.0.6 (node: 958e)".into(),
        api_auth,
        command_gid: Some(120),
        ..Parameters::default()
    }
}

fn caller(uid: u32, gid: u32, id: Option<&str>) -> Caller {
    let identity = id.map(|id| Identity { id: id.into(), casual: id == "391" });
    Caller { credentials: Credentials { pid: Some(391), uid, gid }, identity }
}

fn message(text: &str) -> Message {
    let mut message = Message::empty();
    for pair in text.split(' ').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap();
        message.push_text(name, value);
    }
    message
}

fn show(message: &Message) -> String {
    let field = |field: &crate::wire::message::Field| match &field.value {
        Value::Text(text) => format!("{}={}", field.name, String::from_utf8_lossy(text)),
        Value::Binary(bytes) => format!("(1){}={}", field.name, bytes.len()),
        _ => field.name.clone(),
    };
    message.fields().iter().map(field).collect::<Vec<_>>().join(" ")
}

fn ask(caller: &Caller, text: &str) -> Answer {
    let request = message(&format!("t=hbapi-req {text}"));
    answer(caller, &["391", "ipfail"], &view(), &parameters(), &request)
}

#[test]
fn questions_are_answered_in_the_originals_words_and_order() {
    for (request, expected) in [
        ("reqtype=nodestatus node=node2", "st=active result=OK"),
        ("reqtype=nodestatus node=NODE2", "st=active result=OK"),
        ("reqtype=nodestatus node=nosuch", "result=badreq info=EINVAL"),
        ("reqtype=nodestatus", "result=badreq info=EINVAL"),
        ("reqtype=nodeweight node=node1", "weight=100 result=OK"),
        ("reqtype=nodesite node=node1", "site= result=OK"),
        ("reqtype=nodetype node=node1", "nodetype=normal result=OK"),
        ("reqtype=iflist node=node2", "ifname=eth1 st=up result=OK"),
        ("reqtype=iflist node=10.0.0.9", "result=badreq info=EINVAL"),
        ("reqtype=ifstatus node=node2 ifname=eth1", "st=up result=OK"),
        ("reqtype=ifstatus node=node2 ifname=eth9", "result=badreq info=EINVAL"),
        ("reqtype=clientstatus node=node1 cn=ipfail", "subt=respond-cstatus cs=online result=OK"),
        ("reqtype=clientstatus node=node2 cn=ipfail", "subt=respond-cstatus cs=offline result=OK"),
        ("reqtype=clientstatus node=node1", "result=badreq info=EINVAL"),
        ("reqtype=numnodes", "numnodes=2 result=OK"),
        ("reqtype=getparm pname=deadtime", "pvalue=1 result=OK"),
        ("reqtype=getparm pname=hbversion", "pvalue=3.0.6 result=OK"),
        ("reqtype=getparm pname=crm", "pvalue=false result=OK"),
        ("reqtype=getparm pname=nosuch", "result=OK"),
        ("reqtype=getparm", "result=badreq info=EINVAL"),
        ("reqtype=getrsc", "rsc_hold=local result=OK"),
        ("reqtype=getuuid queryname=node1", "(1)queryuuid=16 result=OK"),
        ("reqtype=getuuid queryname=nosuch", "result=OK"),
        ("reqtype=setfilter fmask=1", "result=OK"),
        ("reqtype=setfilter fmask=0", "result=badreq info=EINVAL"),
        ("reqtype=setfilter fmask=100", "result=badreq info=EINVAL"),
        ("reqtype=setsignal signal=0", "result=OK"),
        ("reqtype=setsignal signal=9", "result=badreq info=EINVAL"),
        ("reqtype=setsignal signal=33", "result=badreq info=EINVAL"),
        ("reqtype=setsignal", "result=badreq"),
        ("reqtype=nonsense", "result=badreq"),
        ("reqtype=signon uid=0 gid=0", "result=badreq"),
    ] {
        let answer = ask(&caller(0, 0, Some("391")), request);
        let kind = request.split([' ', '=']).nth(1).unwrap();
        let expected = format!("t=hbapi-resp reqtype={kind} {expected}");
        assert_eq!(answer.replies.iter().map(show).collect::<Vec<_>>(), [expected], "{request}");
    }
}

#[test]
fn the_node_list_says_that_more_come() {
    let answer = ask(&caller(0, 0, Some("391")), "reqtype=nodelist");
    let shown: Vec<String> = answer.replies.iter().map(show).collect();
    assert_eq!(shown[0], "t=hbapi-resp reqtype=nodelist node=node1 nodetype=normal st=active result=ok/more");
    assert_eq!(shown[2], "t=hbapi-resp reqtype=nodelist node=10.0.0.9 nodetype=ping st=active result=OK");
}

#[test]
fn a_uuid_finds_its_node() {
    let mut request = message("t=hbapi-req reqtype=getnodename");
    request.push("queryuuid", Value::Binary(UUID.parse::<crate::types::Uuid>().unwrap().0.to_vec()));
    let answer = answer(&caller(0, 0, Some("391")), &[], &view(), &parameters(), &request);
    assert_eq!(show(&answer.replies[0]), "t=hbapi-resp reqtype=getnodename queryname=node1 result=OK");
}

#[test]
fn signon_believes_the_kernel_and_no_one_else() {
    let rest =
        "deadtime=3e8 keepalive=64 node=node1 hbversion=3.0.6 (node: 958e) pacemaker=false logfacility=0";
    for (uid, gid, request, expected) in [
        (0, 0, "pid=391 from_id=392 uid=0 gid=0", "info=no default client auth result=badreq"),
        (0, 0, "pid=500 from_id=500 uid=0 gid=0", "info=pid mismatch result=badreq"),
        (0, 0, "pid=0 uid=0 gid=0", "info=bad pid result=badreq"),
        (0, 0, "pid=391 uid=5 gid=0", "info=duplicate add request result=badreq"),
        (0, 0, "pid=500 uid=5 gid=0", "info=incorrect/false credentials result=badreq"),
        (0, 0, "pid=500 uid=0 gid=5", "info=incorrect/false credentials result=badreq"),
        (7, 7, "pid=500 uid=7 gid=7", "info=client failed authorization result=badreq"),
        (0, 0, "pid=391 from_id=ipfail uid=0 gid=0", "info=duplicate add request result=badreq"),
    ] {
        let answer = ask(&caller(uid, gid, None), &format!("reqtype=signon {request}"));
        let expected = format!("t=hbapi-resp reqtype=signon {expected} {rest}");
        assert_eq!(show(&answer.replies[0]), expected, "{request}");
        assert!(matches!(answer.effect, Effect::Remove(_)));
    }
    let sign_on = |uid: u32, gid: u32, id: &str| {
        let text = format!("t=hbapi-req reqtype=signon pid=391 from_id={id} uid={uid} gid={gid}");
        let caller = caller(uid, gid, None);
        answer(&caller, &[], &view(), &parameters(), &message(&text)).effect
    };
    assert_eq!(sign_on(7, 120, "391"), Effect::SignOn(Identity { id: "391".into(), casual: true }));
    assert_eq!(sign_on(103, 7, "ipfail"), Effect::SignOn(Identity { id: "ipfail".into(), casual: false }));
    assert_eq!(sign_on(0, 0, "ipfail"), Effect::Remove("client failed authorization".into()));
    let long = "x".repeat(CLIENT_NAME_MAX_BYTES + 1);
    assert_eq!(sign_on(0, 0, &long), Effect::Remove("client failed authorization".into()));
}

#[test]
fn commands_need_root_or_the_directorys_group() {
    let command =
        |uid, gid, text: &str| ask(&caller(uid, gid, Some("391")), &format!("reqtype=ha-command {text}"));
    for (text, expected) in [
        ("command=standby rsc_hold=failback", CommandRequest::Standby(ResourceSet::FOREIGN)),
        ("command=takeover rsc_hold=failback", CommandRequest::Takeover(ResourceSet::LOCAL)),
        ("command=standby rsc_hold=all", CommandRequest::Standby(ResourceSet::ALL)),
    ] {
        assert_eq!(command(0, 0, text).effect, Effect::Command(expected));
        assert_eq!(command(7, 120, text).effect, Effect::Command(expected));
        let refused = command(7, 7, text);
        assert_eq!(refused.effect, Effect::None);
        assert!(refused.replies[0].text("info").unwrap().starts_with("only root"));
    }
    for text in ["command=standby", "command=standby rsc_hold=none", "rsc_hold=all", "command=x rsc_hold=all"]
    {
        let refused = command(0, 0, text);
        assert_eq!((refused.effect, refused.replies[0].text("result")), (Effect::None, Some("badreq")));
    }
}

#[test]
fn only_root_sees_more_than_kept_messages_and_nobody_speaks_for_another() {
    let answer = ask(&caller(7, 120, Some("391")), "reqtype=setfilter fmask=3");
    assert_eq!(show(&answer.replies[0]), "t=hbapi-resp reqtype=setfilter result=badreq info=EPERM");
    assert_eq!(ask(&caller(0, 0, Some("391")), "reqtype=setfilter fmask=3").effect, Effect::Filter(3));
    let other = ask(&caller(0, 0, Some("391")), "reqtype=getrsc from_id=ipfail");
    assert!(other.replies.is_empty() && matches!(other.effect, Effect::Ignored(_)));
    let early = ask(&caller(0, 0, None), "reqtype=getrsc");
    assert!(early.replies.is_empty() && matches!(early.effect, Effect::Ignored(_)));
    let casual = answer_to_message(&caller(0, 0, Some("391")));
    assert_eq!(casual, Effect::Remove("badclient".into()));
}

fn answer_to_message(caller: &Caller) -> Effect {
    answer(caller, &[], &view(), &parameters(), &message("t=ask_resources rsc_hold=all")).effect
}

proptest! {
    /// Whatever a client sends, the answer has few fields, fits a frame, and is for a client that
    /// signed on only when it did so properly.
    #[test]
    fn any_request_is_answered_within_bounds(
        signed_on in any::<bool>(),
        named in any::<bool>(),
        uid in 0_u32..3,
        kind in prop_oneof![
            Just("hbapi-req".to_owned()), Just("status".to_owned()), Just(String::new()), "[a-zA-Z_-]{0,40}"
        ],
        request in prop_oneof![
            Just("signon"), Just("signoff"), Just("setfilter"), Just("setsignal"), Just("set_sendqlen"),
            Just("clientstatus"), Just("nodelist"), Just("iflist"), Just("ifstatus"), Just("getparm"),
            Just("getuuid"), Just("getnodename"), Just("ha-command"), Just("ha-status"), Just("x")
        ],
        fields in proptest::collection::vec((
            prop_oneof![
                Just("pid"), Just("from_id"), Just("to_id"), Just("uid"), Just("gid"), Just("node"),
                Just("cn"), Just("fmask"), Just("signal"), Just("sendqlen"), Just("pname"), Just("dest"),
                Just("queryuuid"), Just("queryname"), Just("rsc_hold"), Just("command"), Just("info")
            ],
            prop_oneof![Just("ipfail".to_owned()), Just("node2".to_owned()), "[0-9]{0,25}", "\\PC{0,40}"],
        ), 0..12),
    ) {
        let id = if named { "ipfail" } else { "391" };
        let caller = caller(uid, uid, signed_on.then_some(id));
        let mut message = Message::new(&kind).with("reqtype", request);
        for (name, value) in fields {
            message.push_text(name, &value);
        }
        let answer = answer(&caller, &["391", "ipfail"], &view(), &parameters(), &message);
        prop_assert!(answer.replies.len() <= view().nodes.len());
        for reply in &answer.replies {
            prop_assert!(reply.fields().len() <= 10);
        }
        match answer.effect {
            Effect::ClusterMessage(message) => {
                prop_assert!(signed_on && named && !OF_DAEMONS.contains(&message.kind()));
                prop_assert_eq!((message.text("from_id"), message.text("to_id")), (Some(id), Some(id)));
            }
            Effect::SignOn(identity) => {
                prop_assert!(!signed_on && identity.id.len() <= CLIENT_NAME_MAX_BYTES);
            }
            Effect::Filter(mask) => prop_assert!(mask == FILTER_KEPT || uid == 0),
            _ => {}
        }
    }
}
