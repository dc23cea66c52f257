//! A small HTTP client for services of this very host (RFC 9110, 9112): one GET over a connection of its
//! own, all of it within a time, nothing in it believed beyond its limits.
//!
//! The connection starts from the loopback address, because status pages are open to that one alone. A
//! page that sends on to another is followed on this host. There is no TLS here: of `https` only
//! [`connect`] can say that somebody accepts connections.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use thiserror::Error;

/// Longest head of an answer: status line and header fields.
const HEAD_MAX_BYTES: usize = 64 * 1024;
/// Most of a page that is read.
const BODY_MAX_BYTES: usize = 1024 * 1024;
/// Longest URL that is asked for.
const URL_MAX_BYTES: usize = 8 * 1024;
/// How many pages may send on to the next.
const REDIRECTS_MAX: u32 = 5;

/// Where a page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// `https`: only connections can be tried.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path with its query, from the slash on.
    pub path: String,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The status code: 200 and so on.
    pub status: u16,
    /// Its first mebibyte.
    pub body: Vec<u8>,
}

/// Why there is no page.
#[derive(Debug, Error)]
pub enum HttpError {
    /// No URL of this kind.
    #[error("{0:?} is no URL that can be asked for: http://host[:port]/path")]
    Url(String),
    /// A page behind TLS.
    #[error("{0} is behind TLS, which this check cannot speak")]
    Tls(String),
    /// Nobody there, or it broke off.
    #[error("{host} port {port}: {cause}")]
    Connection {
        /// Who was asked.
        host: String,
        /// On which port.
        port: u16,
        /// What happened.
        cause: io::Error,
    },
    /// Something answered that is no web server.
    #[error("{0} port {1} answers, but not in HTTP")]
    NotHttp(String, u16),
    /// Pages that send on to each other.
    #[error("too many redirections, the last to {0}")]
    Redirections(String),
}

impl Url {
    /// Reads `http://host[:port][/path]`.
    ///
    /// # Errors
    /// [`HttpError::Url`].
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        Self::from_text(text).ok_or_else(|| HttpError::Url(text.chars().take(200).collect()))
    }

    fn from_text(text: &str) -> Option<Self> {
        // A line break in it would be a second request.
        if text.len() > URL_MAX_BYTES || text.chars().any(|c| c.is_control() || c == ' ') {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = match place.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => place.split_at(place.find(':').unwrap_or(place.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => {
                if tls {
                    443
                } else {
                    80
                }
            }
            None => return None,
            Some("") => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        (!host.is_empty()).then(|| Self { tls, host: host.to_owned(), port, path: format!("{slash}{path}") })
    }

    /// Host and port as a Host field and a person write them.
    fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn failed(&self, cause: io::Error) -> HttpError {
        HttpError::Connection { host: self.host.clone(), port: self.port, cause }
    }
}

/// Fetches a page; one that sends on is followed, five times at most. `authorization` is the
/// value of that field, for pages of the first place alone. `limit` is for all of it.
///
/// # Errors
/// [`HttpError`]. A page with status 404 or 500 is no error here.
pub fn get(url: &Url, authorization: Option<&str>, limit: Duration) -> Result<Page, HttpError> {
    let end = Instant::now() + limit;
    let asked = url;
    let mut url = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let known = authorization.filter(|_| (&url.host, url.port) == (&asked.host, asked.port));
        let answer = get_once(&url, known, end)?;
        match answer.location.filter(|_| matches!(answer.page.status, 301 | 302 | 303 | 307 | 308)) {
            None => return Ok(answer.page),
            Some(location) if location.starts_with('/') => url.path = location,
            Some(location) => url = Url::parse(&location)?,
        }
    }
    Err(HttpError::Redirections(url.place()))
}

/// Whether somebody accepts connections at the URL's place, from within `limit`.
///
/// # Errors
/// [`HttpError::Connection`] says why not.
pub fn connect(url: &Url, limit: Duration) -> Result<(), HttpError> {
    open(url, Instant::now() + limit).map(drop).map_err(|cause| url.failed(cause))
}

struct Answer {
    page: Page,
    location: Option<String>,
}

fn get_once(url: &Url, authorization: Option<&str>, end: Instant) -> Result<Answer, HttpError> {
    if url.tls {
        return Err(HttpError::Tls(url.place()));
    }
    if url.path.len() > URL_MAX_BYTES || url.path.chars().any(|c| c.is_control() || c == ' ') {
        return Err(HttpError::Url(url.path.chars().take(200).collect()));
    }
    let not_http = || HttpError::NotHttp(url.host.clone(), url.port);
    let mut stream = open(url, end).map_err(|cause| url.failed(cause))?;
    let authorization = authorization.map_or(String::new(), |value| format!("Authorization: {value}\r\n"));
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {}\r\n{authorization}User-Agent: ha\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        url.path,
        url.place()
    );
    let written =
        stream.set_write_timeout(Some(left(end))).and_then(|()| stream.write_all(request.as_bytes()));
    written.map_err(|cause| url.failed(cause))?;
    let mut bytes = Vec::new();
    let head_bytes = loop {
        if let Some(head_bytes) = head_end(&bytes) {
            break head_bytes;
        }
        if bytes.len() > HEAD_MAX_BYTES || (bytes.len() >= 5 && !bytes.starts_with(b"HTTP/")) {
            return Err(not_http());
        }
        if read_some(&mut stream, &mut bytes, end).map_err(|cause| url.failed(cause))? == 0 {
            return Err(not_http());
        }
    };
    while bytes.len() < head_bytes + BODY_MAX_BYTES {
        match read_some(&mut stream, &mut bytes, end) {
            Ok(0) => break,
            Ok(_) => (),
            // The answer was said to be whole when the server resets what it has no more use for.
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionReset => break,
            Err(cause) => return Err(url.failed(cause)),
        }
    }
    bytes.truncate(head_bytes + BODY_MAX_BYTES);
    let body = bytes.split_off(head_bytes);
    let head = String::from_utf8_lossy(&bytes);
    let status = status_of(&head).ok_or_else(not_http)?;
    let location = field(&head, "location").map(str::to_owned);
    Ok(Answer { page: Page { status, body }, location })
}

fn left(end: Instant) -> Duration {
    // A time limit of zero would mean none.
    end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>, end: Instant) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if Instant::now() >= end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left(end)))?;
        match stream.read(&mut buffer) {
            Ok(length) => {
                bytes.extend_from_slice(&buffer[..length]);
                return Ok(length);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
}

/// A connection to the first of the host's addresses that accepts one.
fn open(url: &Url, end: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address of that name");
    for address in addresses(url, end)? {
        match open_to(address, end) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn open_to(address: SocketAddr, end: Instant) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    let loopback: IpAddr =
        if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    socket.bind(&SocketAddr::new(loopback, 0).into())?;
    socket.connect_timeout(&address.into(), left(end))?;
    Ok(socket.into())
}

/// Addresses need nobody's help, and neither does `localhost`; any other name is resolved, which is
/// waited for no longer than allowed.
fn addresses(url: &Url, end: Instant) -> io::Result<Vec<SocketAddr>> {
    if url.host.eq_ignore_ascii_case("localhost") {
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Ok(both.map(|ip| SocketAddr::new(ip, url.port)).to_vec());
    }
    if let Ok(ip) = url.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, url.port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let (host, port) = (url.host.clone(), url.port);
    std::thread::spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|all| all.take(8).collect::<Vec<_>>());
        // Nobody waits any more when this fails.
        let _ = sender.send(found);
    });
    receiver.recv_timeout(left(end)).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Bytes of the head with its empty line, once that is there.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let long = bytes.windows(4).position(|part| part == b"\r\n\r\n").map(|at| at + 4);
    let short = bytes.windows(2).position(|part| part == b"\n\n").map(|at| at + 2);
    long.into_iter().chain(short).min()
}

fn status_of(head: &str) -> Option<u16> {
    let mut words = head.lines().next()?.split_ascii_whitespace();
    words.next()?.strip_prefix("HTTP/")?;
    words.next().filter(|code| code.len() == 3)?.parse().ok().filter(|code| *code >= 100)
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Serves one connection after the other with these bytes; a connection stays open for `hold`.
    fn serve(answers: Vec<Vec<u8>>, hold: Duration) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(&answer);
                std::thread::sleep(hold);
            }
        });
        port
    }

    fn ask(answers: &[&[u8]]) -> Result<Page, HttpError> {
        let port = serve(answers.iter().map(|answer| answer.to_vec()).collect(), Duration::ZERO);
        get(&Url::parse(&format!("http://localhost:{port}/x")).unwrap(), None, LIMIT)
    }

    #[test]
    fn urls() {
        let parse = |text: &str| Url::parse(text).ok().map(|it| (it.tls, it.place(), it.path));
        let of = |tls, place: &str, path: &str| Some((tls, place.to_owned(), path.to_owned()));
        assert_eq!(parse("http://localhost"), of(false, "localhost:80", "/"));
        assert_eq!(parse("HTTP://u:p@10.0.0.1:8080/a?b#c"), of(false, "10.0.0.1:8080", "/a?b"));
        assert_eq!(parse("https://[::1]/"), of(true, "[::1]:443", "/"));
        assert_eq!(parse("http://h:?q"), of(false, "h:80", "/?q"));
        for text in [
            "",
            "http:/x",
            "ftp://x/",
            "http://",
            "http://:80/",
            "http://x:0/",
            "http://x:99999/",
            "http://[::1",
            "http://[::1]x/",
            "http://x/\r\nHost: y",
            "http://x/a b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(Url::parse(&format!("http://x/{}", "a".repeat(URL_MAX_BYTES))).is_err());
    }

    #[test]
    fn a_page_is_fetched_and_redirections_are_followed() {
        let page = ask(&[b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n<html>"]).unwrap();
        assert_eq!(page, Page { status: 200, body: b"<html>".to_vec() });
        let page = ask(&[b"HTTP/1.0 302 Found\nLocation: /y\n\n", b"HTTP/1.0 404 No\n\nno"]).unwrap();
        assert_eq!(page, Page { status: 404, body: b"no".to_vec() });
        let round: &[u8] = b"HTTP/1.0 301 x\r\nLocation: /y\r\n\r\n";
        assert!(matches!(ask(&[round; 7]), Err(HttpError::Redirections(_))));
        let away = ask(&[b"HTTP/1.0 301 x\r\nLocation: https://a/\r\n\r\n"]);
        assert!(matches!(away, Err(HttpError::Tls(_))));
    }

    #[test]
    fn hostile_answers_end_in_an_error_within_their_limits() {
        for answer in [
            &b""[..],
            b"\r\n\r\n",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 99 x\r\n\r\n",
            b"HTTP/1.1 20000 x\r\n\r\n",
            b"HTTP/1.1 \xff\xff\xff\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
        ] {
            assert!(matches!(ask(&[answer]), Err(HttpError::NotHttp(..))), "{answer:?}");
        }
        let endless_head = [b"HTTP/1.1 200 OK\r\n".to_vec(), vec![b'x'; 4 << 20]].concat();
        assert!(ask(&[&endless_head]).is_err());
        let endless_body = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 4 << 20]].concat();
        assert_eq!(ask(&[&endless_body]).unwrap().body.len(), BODY_MAX_BYTES);
        let split = ask(&[b"HTTP/1.0 302 x\r\nLocation: /y z\r\n\r\n"]);
        assert!(matches!(split, Err(HttpError::Url(_))));
    }

    #[test]
    fn a_server_that_says_nothing_costs_the_limit_and_no_more() {
        let port = serve(vec![Vec::new(), b"HTTP/1.1 200 OK\r\n\r\nhalf".to_vec()], Duration::from_secs(60));
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        let start = Instant::now();
        assert!(connect(&url, LIMIT).is_ok());
        assert!(get(&url, None, Duration::from_millis(200)).is_err());
        assert!(start.elapsed() < LIMIT);
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = Url::parse(&format!("http://127.0.0.1:{free}/")).unwrap();
        assert!(matches!(connect(&url, LIMIT), Err(HttpError::Connection { .. })));
    }
}
