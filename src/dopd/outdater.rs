//! `drbd-peer-outdater`: asks dopd to outdate the peer and hands its answer to DRBD.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ipc::frame::{encode_frame, FrameDecoder};
use crate::log::Logger;
use crate::sys::getopt::Options;
use crate::sys::print;
use crate::types::LogLevel;
use crate::wire::message::Message;
use crate::wire::{decode_local, encode_api};

use super::{ANSWER, ASK, FAILED, UNREACHABLE};

/// The name in messages and usage.
const NAME: &str = "drbd-peer-outdater";
const TIMEOUT_DEFAULT_S: u64 = 60;

/// The program. `words` are the arguments, `variable` reads the environment; the value is the exit code.
pub fn program(
    words: &[String],
    variable: impl Fn(&str) -> Option<String>,
    socket: &Path,
    logger: &Logger,
) -> u8 {
    let options = Options::parse(NAME, words, "hVt:p:r:");
    if options.has('h') {
        print::line(&usage());
        return 0;
    }
    let given = |letter, name| options.argument(letter).map(str::to_owned).or_else(|| variable(name));
    let (peer, resource) = (given('p', "DRBD_PEER"), given('r', "DRBD_RESOURCE"));
    let (true, Some(peer), Some(resource)) = (options.errors.is_empty(), peer, resource) else {
        options.errors.iter().for_each(|error| print::error_line(error));
        print::error_line(&usage());
        return 1;
    };
    logger.log(LogLevel::Debug, &format!("drbd peer: {peer}"));
    logger.log(LogLevel::Debug, &format!("drbd resource: {resource}"));
    let timeout_s = options.argument('t').map_or(TIMEOUT_DEFAULT_S, |text| text.trim().parse().unwrap_or(0));
    ask(&peer, &resource, timeout_s, socket, logger)
}

fn usage() -> String {
    format!(
        "usage: {NAME} -r <string> -p <string> [-t <int>]\n\t-p <string>\tdrbd peer\n\t-r <string>\tdrbd resource\n\
         \t-t <int>\ttimeout in seconds; default: {TIMEOUT_DEFAULT_S}\n\n\
         The drbd peer and drbd resource have to be specified either on the\n\
         commandline using the -p and -r options, or using the $DRBD_PEER and\n\
         $DRBD_RESOURCE environment variables. $DRBD_RESOURCE and $DRBD_PEER\n\
         will be ignored, if the command line options are used."
    )
}

fn ask(peer: &str, resource: &str, timeout_s: u64, socket: &Path, logger: &Logger) -> u8 {
    let end = Instant::now() + Duration::from_secs(timeout_s);
    let Ok(mut stream) = UnixStream::connect(socket) else {
        logger.log(LogLevel::Debug, &format!("Could not init comms on: {}", socket.display()));
        logger.log(LogLevel::Warning, "Could not connect to outdater channel");
        return UNREACHABLE;
    };
    let question =
        Message::new(ASK).with("src", NAME).with("outdater_peer", peer).with("outdater_res", resource);
    let frame = encode_api(&question).ok().and_then(|body| encode_frame(&body).ok());
    let sent = frame.is_some_and(|frame| {
        stream.set_write_timeout(Some(left(end))).is_ok() && stream.write_all(&frame).is_ok()
    });
    if !sent {
        print::error_line("Could not send message");
        return UNREACHABLE;
    }
    let mut decoder = FrameDecoder::new();
    let mut buffer = [0; 4096];
    loop {
        if Instant::now() >= end {
            print::error_line(&format!(
                "error: could not connect to dopd after {timeout_s} seconds: timeout reached"
            ));
            return UNREACHABLE;
        }
        match decoder.next_frame() {
            Ok(Some(body)) => return answer(&body, logger),
            Ok(None) => (),
            Err(_) => return no_message(),
        }
        let read = stream.set_read_timeout(Some(left(end))).and_then(|()| stream.read(&mut buffer));
        match read {
            Ok(0) => return no_message(),
            Ok(count) => decoder.push(&buffer[..count]),
            Err(error) if is_passing(&error) => (),
            Err(_) => return no_message(),
        }
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn no_message() -> u8 {
    print::error_line("no message from server or other instance is running");
    UNREACHABLE
}

fn answer(body: &[u8], logger: &Logger) -> u8 {
    let Ok(message) = decode_local(body) else { return no_message() };
    let value = message.text("dop_value").unwrap_or_default();
    let from = message.text("src").unwrap_or_default();
    logger.log(LogLevel::Debug, &format!("message: {}, {from}", message.kind()));
    match value.parse() {
        Ok(code) if message.kind() == ANSWER => code,
        _ => {
            print::error_line(&format!("unknown message: {value} from server"));
            FAILED
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogTargets;
    use std::os::unix::net::UnixListener;

    /// Asks a dopd that answers with these bytes.
    fn asked(answer: Vec<u8>) -> u8 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("outdater");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap();
            stream.write_all(&answer).unwrap();
            buffer[..count].to_vec()
        });
        let words = ["-p", "node2", "-r", "r0", "-t", "20"].map(str::to_owned);
        let code = program(&words, |_| None, &path, &Logger::direct(LogTargets::none("x")));
        let mut decoder = FrameDecoder::new();
        decoder.push(&server.join().unwrap());
        let question = decode_local(&decoder.next_frame().unwrap().unwrap()).unwrap();
        assert_eq!((question.kind(), question.text("outdater_peer")), ("outdater", Some("node2")));
        assert_eq!(question.text("outdater_res"), Some("r0"));
        code
    }

    fn framed(kind: &str, value: &str) -> Vec<u8> {
        let message = Message::new(kind).with("src", "node1").with("dop_value", value);
        encode_frame(&encode_api(&message).unwrap()).unwrap()
    }

    #[test]
    fn the_answer_is_the_exit_code_and_nonsense_is_told() {
        assert_eq!(asked(framed(ANSWER, "4")), 4);
        assert_eq!(asked(framed(ANSWER, "x")), FAILED);
        assert_eq!(asked(framed(ANSWER, "999")), FAILED);
        assert_eq!(asked(framed("other", "4")), FAILED);
        assert_eq!(asked(Vec::new()), UNREACHABLE);
        assert_eq!(asked(vec![0xff; 100]), UNREACHABLE);
        assert_eq!(asked(encode_frame(b"\0\xff no message").unwrap()), UNREACHABLE);
    }

    #[test]
    fn without_dopd_or_words() {
        let logger = Logger::direct(LogTargets::none("x"));
        let run = |words: &[&str], variable: &dyn Fn(&str) -> Option<String>| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            program(&words, variable, Path::new("/nonexistent/socket"), &logger)
        };
        assert_eq!(run(&[], &|name| Some(name.to_owned())), UNREACHABLE);
        assert_eq!(run(&["-p", "x"], &|_| None), 1);
        assert_eq!(run(&["-x"], &|name| Some(name.to_owned())), 1);
        assert_eq!(run(&["-h"], &|_| None), 0);
    }
}
