//! Giving a mail to a server (RFC 5321): one connection, no authentication, no encryption. For a relay
//! on this host or beside it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The port where none is said.
const PORT: u16 = 25;
/// Longest line of a reply (RFC 5321 4.5.3.1.5 says 512).
const REPLY_LINE_MAX_BYTES: u64 = 2048;
/// Most lines of one reply.
const REPLY_LINES_MAX: usize = 100;

/// A mail with its envelope.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// Address of the sender.
    pub from: &'a str,
    /// Addresses without blanks and angle brackets.
    pub recipients: &'a [String],
    /// Header, empty line, text. Lines may end in any way.
    pub message: &'a str,
}

/// Gives a mail to `server`, a host with `:port` or without, as the host `own_name`. All of it takes
/// `limit` at most, apart from asking a name server.
///
/// # Errors
/// Why the mail, or the mail to some of the recipients, was not taken.
pub fn send(server: &str, own_name: &str, mail: &Mail<'_>, limit: Duration) -> Result<(), String> {
    let mut session = Session::open(server, limit).map_err(|error| format!("{server}: {error}"))?;
    session.deliver(own_name, mail).map_err(|error| format!("{server}: {error}"))
}

struct Session {
    stream: BufReader<TcpStream>,
    end: Instant,
}

impl Session {
    fn open(server: &str, limit: Duration) -> io::Result<Self> {
        let end = Instant::now() + limit;
        let addresses: Vec<_> = match server.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(_) => (server.trim_matches(['[', ']']), PORT).to_socket_addrs()?.collect(),
        };
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, left(end)?) {
                Ok(stream) => return Ok(Self { stream: BufReader::new(stream), end }),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn deliver(&mut self, own_name: &str, mail: &Mail<'_>) -> io::Result<()> {
        self.expect("greeting", 220)?;
        if self.command(&format!("EHLO {own_name}"), 250).is_err() {
            self.command(&format!("HELO {own_name}"), 250)?;
        }
        self.command(&format!("MAIL FROM:<{}>", mail.from), 250)?;
        let mut refused = Vec::new();
        for recipient in mail.recipients {
            // 251: the server forwards it.
            if let Err(error) = self.command(&format!("RCPT TO:<{recipient}>"), 25) {
                refused.push(error.to_string());
            }
        }
        if refused.len() < mail.recipients.len() {
            self.command("DATA", 354)?;
            self.write(&data(mail.message))?;
            self.expect("the mail", 250)?;
        }
        // It is delivered, whatever becomes of the good-bye.
        let _ = self.write("QUIT\r\n");
        match refused.is_empty() {
            true => Ok(()),
            false => Err(io::Error::other(refused.join("; "))),
        }
    }

    fn command(&mut self, line: &str, code: u16) -> io::Result<()> {
        if line.contains(['\r', '\n', '\0']) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a line break in an address or name"));
        }
        self.write(&format!("{line}\r\n"))?;
        self.expect(line, code)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.set_write_timeout(Some(left(self.end)?))?;
        stream.write_all(text.as_bytes())
    }

    /// Reads a reply of that code; with two digits, of any code that begins so.
    fn expect(&mut self, about: &str, code: u16) -> io::Result<()> {
        for _ in 0..REPLY_LINES_MAX {
            let line = self.line()?;
            let found: Option<u16> = line.get(..3).and_then(|digits| digits.parse().ok());
            match (found, line.as_bytes().get(3)) {
                (Some(_), Some(b'-')) => (),
                (Some(found), _) if found == code || found / 10 == code => return Ok(()),
                _ => return Err(io::Error::other(format!("{about}: {line}"))),
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("{about}: a reply without end")))
    }

    fn line(&mut self) -> io::Result<String> {
        self.stream.get_mut().set_read_timeout(Some(left(self.end)?))?;
        let mut bytes = Vec::new();
        let mut limited = (&mut self.stream).take(REPLY_LINE_MAX_BYTES);
        limited.read_until(b'\n', &mut bytes)?;
        if !bytes.ends_with(b"\n") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the reply is no line, or too long a one",
            ));
        }
        let text: String = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Ok(text.chars().map(|c| if c.is_control() { '?' } else { c }).collect())
    }
}

/// Lines end in CR LF, a dot at the start of a line is doubled, a dot alone ends it all.
fn data(message: &str) -> String {
    let mut text = String::new();
    for line in message.lines() {
        if line.starts_with('.') {
            text.push('.');
        }
        // A carriage return alone could be taken for the end of a line.
        text.push_str(&line.replace('\r', ""));
        text.push_str("\r\n");
    }
    text + ".\r\n"
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long"));
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that sends `replies`, one after each line it reads, and what it read.
    fn served(replies: &'static [u8]) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // A client that has heard enough closes; what is left of a long answer has no reader then.
            let _ = stream.write_all(replies);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut text = Vec::new();
            let _ = stream.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let recipients = ["a@b".to_owned(), "c@d".to_owned()];
        let mail = Mail { from: "root@x", recipients: &recipients, message: "Subject: x\n\n.dot\n.\nlast" };
        let result = send(&address, "x", &mail, Duration::from_secs(10));
        (result, server.join().unwrap())
    }

    #[test]
    fn a_mail_is_given_line_by_line() {
        let (result, text) =
            served(b"220 hi\r\n250-x\r\n250 SIZE\r\n250 ok\r\n250 ok\r\n251 ok\r\n354 go\r\n250 taken\r\n221 bye\r\n");
        assert_eq!(result, Ok(()));
        assert_eq!(
            text,
            "EHLO x\r\nMAIL FROM:<root@x>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n..\r\n\
             last\r\n.\r\nQUIT\r\n"
        );
    }

    #[test]
    fn refusals_are_told() {
        let (result, _) =
            served(b"220 hi\r\n250 x\r\n250 ok\r\n550 no such user\r\n250 ok\r\n354 go\r\n250 taken\r\n");
        assert!(result.unwrap_err().contains("RCPT TO:<a@b>: 550 no such user"));
        let (result, text) = served(b"220 hi\r\n500 what\r\n250 x\r\n451 later\r\n");
        assert!(result.unwrap_err().contains("451 later"));
        assert!(text.contains("EHLO x\r\nHELO x\r\n"), "{text}");
    }

    #[test]
    fn hostile_servers_do_no_harm() {
        for replies in
            [&b""[..], b"\r\n", b"220", b"22", b"\xff\xfe\r\n", b"220-a\r\n220-b\r\n", b"999 \x1b[2J\r\n"]
        {
            assert!(served(replies).0.is_err());
        }
        let long: &'static [u8] = vec![b'2'; 100_000].leak();
        assert!(served(long).0.unwrap_err().contains("too long"));
        let endless: &'static [u8] = b"220-x\r\n".repeat(200).leak();
        assert!(served(endless).0.unwrap_err().contains("without end"));
        assert!(
            send("127.0.0.1:1", "x", &Mail { from: "", recipients: &[], message: "" }, PORT_LIMIT).is_err()
        );
    }

    const PORT_LIMIT: Duration = Duration::from_secs(5);
}
