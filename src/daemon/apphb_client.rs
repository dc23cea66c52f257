//! `use_apphbd`: this daemon is watched by `apphbd`, ours or the original's, as any program can be.
//!
//! Nothing here waits. An `apphbd` that is not there is an ERROR line, as in the original; ours looks
//! for it again now and then.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::ipc::frame::{encode_frame, FrameDecoder};
use crate::log::LogLine;
use crate::types::LogLevel;
use crate::wire::apphb::{decode_answer, Registration, Request};

const NAME: &str = "heartbeat";
const INSTANCE: &str = "master_control_process";
/// Pause before it is looked for again, milliseconds.
const LOOK_AGAIN_MS: u64 = 10_000;

/// The connection, if `use_apphbd` asks for one.
#[derive(Default)]
pub(super) struct ApphbClient {
    wanted: Option<Wanted>,
    connection: Option<Connection>,
    look_again_ms: u64,
    /// It was said that it is not there.
    told: bool,
}

struct Wanted {
    socket: PathBuf,
    dead_time_ms: u64,
    warn_time_ms: u64,
}

struct Connection {
    socket: Socket,
    decoder: FrameDecoder,
    /// Registered: the first answer came.
    known: bool,
}

impl ApphbClient {
    /// Registers at that socket with the first beat: failed after deadtime without one, late after
    /// warntime.
    pub(super) fn new(socket: PathBuf, dead_time_ms: u64, warn_time_ms: u64) -> Self {
        Self { wanted: Some(Wanted { socket, dead_time_ms, warn_time_ms }), ..Self::default() }
    }

    /// This daemon is well. The lines are for the log.
    pub(super) fn beat(&mut self, now_ms: u64) -> Vec<LogLine> {
        let Some(wanted) = &self.wanted else { return Vec::new() };
        let mut lines = Vec::new();
        if self.connection.is_none() && now_ms >= self.look_again_ms {
            match Connection::open(wanted) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => lines.extend(self.lost("Unable to register with apphbd.", &error, now_ms)),
            }
        }
        let Some(connection) = &mut self.connection else { return lines };
        match connection.beat() {
            Ok(true) => {
                self.told = false;
                lines.push((LogLevel::Info, format!("Registered with apphbd as {NAME}/{INSTANCE}.")));
            }
            Ok(false) => {}
            Err(error) => {
                let known = connection.known;
                let text = if known { "apphb_hb() failed." } else { "Unable to register with apphbd." };
                lines.extend(self.lost(text, &error, now_ms));
            }
        }
        lines
    }

    /// This daemon ends in order, and need not be missed.
    pub(super) fn close(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            let _ = connection.send(&Request::Unregister);
        }
    }

    fn lost(&mut self, text: &str, error: &io::Error, now_ms: u64) -> Option<LogLine> {
        self.connection = None;
        self.look_again_ms = now_ms + LOOK_AGAIN_MS;
        let first = !std::mem::replace(&mut self.told, true);
        first.then(|| (LogLevel::Error, format!("{text}: {error}")))
    }
}

impl Connection {
    fn open(wanted: &Wanted) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // One that takes no more connections must not make us wait.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(&wanted.socket)?)?;
        let mut connection = Self { socket, decoder: FrameDecoder::new(), known: false };
        let registration = Registration {
            name: NAME.to_owned(),
            instance: INSTANCE.to_owned(),
            folder: "/".to_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        };
        connection.send(&Request::Register(Box::new(registration)))?;
        connection.send(&Request::SetInterval(wanted.dead_time_ms))?;
        connection.send(&Request::SetWarning(wanted.warn_time_ms))?;
        Ok(connection)
    }

    /// `true`: it has just said that it watches us.
    fn beat(&mut self) -> io::Result<bool> {
        let before = self.known;
        self.read_answers()?;
        self.send(&Request::Beat)?;
        Ok(self.known && !before)
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        let frame = encode_frame(&request.encode()).map_err(io::Error::other)?;
        match self.socket.write(&frame) {
            Ok(length) if length == frame.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            // It does not read just now; a beat more or less does not matter.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && *request == Request::Beat => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read_answers(&mut self) -> io::Result<()> {
        let mut buffer = [0; 256];
        match self.socket.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.decoder.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        while let Some(body) = self.decoder.next_frame().map_err(io::Error::other)? {
            match decode_answer(&body) {
                Some(0) => self.known = true,
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::apphb::encode_answer;
    use std::os::unix::net::UnixListener;

    #[test]
    fn it_registers_beats_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("apphb.comm");
        let mut client = ApphbClient::new(path.clone(), 2000, 1000);
        let lines = client.beat(0);
        assert!(lines[0].1.starts_with("Unable to register with apphbd.: "), "{lines:?}");
        assert!(client.beat(100).is_empty() && client.beat(10_000).is_empty(), "said once");

        let listener = UnixListener::bind(&path).unwrap();
        assert!(client.beat(20_000).is_empty());
        let (mut server, _) = listener.accept().unwrap();
        let mut decoder = FrameDecoder::new();
        let mut buffer = [0; 4096];
        let length = server.read(&mut buffer).unwrap();
        decoder.push(&buffer[..length]);
        let mut next = || Request::decode(&decoder.next_frame().unwrap().unwrap());
        assert!(matches!(next(), Ok(Request::Register(one)) if one.name == "heartbeat"));
        assert_eq!(next(), Ok(Request::SetInterval(2000)));
        assert_eq!(next(), Ok(Request::SetWarning(1000)));
        assert_eq!(next(), Ok(Request::Beat));
        server.write_all(&encode_frame(&encode_answer(0)).unwrap()).unwrap();
        let text = "Registered with apphbd as heartbeat/master_control_process.".to_owned();
        assert_eq!(client.beat(20_100), [(LogLevel::Info, text)]);
        assert!(client.beat(20_200).is_empty());
        drop((server, listener));
        let lines = client.beat(20_300);
        assert!(lines[0].1.starts_with("apphb_hb() failed.: "), "{lines:?}");
        assert!(client.beat(20_400).is_empty());
    }

    #[test]
    fn a_refusal_and_nonsense_are_errors() {
        for answer in [encode_frame(&encode_answer(22)).unwrap(), b"junkjunkjunkjunk".to_vec()] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("apphb.comm");
            let listener = UnixListener::bind(&path).unwrap();
            let mut client = ApphbClient::new(path, 2000, 1000);
            assert!(client.beat(0).is_empty());
            let (mut server, _) = listener.accept().unwrap();
            server.write_all(&answer).unwrap();
            let lines = client.beat(100);
            assert!(lines[0].1.starts_with("Unable to register with apphbd.: "), "{lines:?}");
        }
        assert!(ApphbClient::default().beat(5).is_empty());
    }
}
