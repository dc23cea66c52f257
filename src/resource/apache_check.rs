//! Does a web server answer as it should? Its status page, the test page of check level 10, or, where
//! nothing is configured to be asked for, any answer at all.

use std::time::Duration;

use crate::net::http::{self, HttpError, Page, Url};
use crate::sys::regex::Expression;
use crate::wire::base64;

use super::apache_config::{ApacheConfig, Listen};
use super::command::{self, Program};
use super::script::read_text;
use super::{Context, ExitCode};

/// For one page.
const PAGE_LIMIT: Duration = Duration::from_secs(15);
/// For the first sign of life.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const TESTS_MAX_BYTES: u64 = 64 * 1024;
const NO_STATUS_PAGE: &str = "Failed to access httpd status page.";

/// What is wrong with a server, and the exit code for it.
#[derive(Debug)]
pub(super) struct CheckFailure {
    pub(super) text: String,
    pub(super) code: ExitCode,
}

impl CheckFailure {
    pub(super) fn error(text: &str) -> Self {
        Self { text: text.to_owned(), code: ExitCode::GenericError }
    }

    fn configured(text: &str) -> Self {
        Self { text: text.to_owned(), code: ExitCode::NotConfigured }
    }
}

/// Check level 0: the status page matches. If nobody asked for that page, an answer is enough.
pub(super) fn basic(context: &Context, config: &ApacheConfig) -> Result<(), CheckFailure> {
    let url = match context.value("statusurl") {
        "" => format!("{}{}", base_url(context, config), config.status_path.as_deref().unwrap_or("")),
        url => url.to_owned(),
    };
    let expression = expression(context.value("testregex"))?;
    let page = fetch(context, &Request { url: &url, ..Request::default() });
    if page.as_ref().is_ok_and(|page| expression.matches(page)) {
        return Ok(());
    }
    let asked_for = ["testregex", "testregex10", "testurl", "statusurl", "testconffile"];
    if asked_for.iter().all(|name| context.parameters.get(name).is_none()) && answers(context, config) {
        return Ok(());
    }
    let why = page.err().map_or(String::new(), |why| format!(" {why}"));
    Err(CheckFailure::error(&format!("{NO_STATUS_PAGE}{why}")))
}

/// Check level 10: the page of the test matches.
pub(super) fn deep(context: &Context, config: &ApacheConfig) -> Result<(), CheckFailure> {
    let file = context.value("testconffile");
    let test = if file.is_empty() {
        let value = |name: &str| context.value(name).trim().to_owned();
        Test { url: value("testurl"), pattern: context.value("testregex10").to_owned(), ..Test::default() }
    } else {
        let text = read_text(std::path::Path::new(file), TESTS_MAX_BYTES)
            .map_err(|error| CheckFailure::configured(&format!("{file}: {error}")))?;
        Test::read(&text, context.value("testname")).map_err(|text| CheckFailure::configured(&text))?
    };
    if test.url.is_empty() || test.pattern.is_empty() {
        return Err(CheckFailure::configured("test regular expression or test url empty"));
    }
    if test.user.is_empty() != test.password.is_empty() {
        return Err(CheckFailure::configured("bad user authentication for extended test"));
    }
    let expression = expression(&test.pattern)?;
    let url =
        if test.url.starts_with("http") { test.url.clone() } else { base_url(context, config) + &test.url };
    let credentials = (!test.user.is_empty()).then_some((test.user.as_str(), test.password.as_str()));
    let client = if test.client.is_empty() { context.value("client") } else { &test.client };
    match fetch(context, &Request { url: &url, credentials, client, options: &test.options }) {
        Ok(page) if expression.matches(&page) => Ok(()),
        Ok(_) => Err(CheckFailure::error(NO_STATUS_PAGE)),
        Err(why) => Err(CheckFailure::error(&format!("{NO_STATUS_PAGE} {why}"))),
    }
}

fn expression(pattern: &str) -> Result<Expression, CheckFailure> {
    let refused = || CheckFailure::configured(&format!("{pattern:?} is no extended regular expression"));
    Expression::new(pattern).ok_or_else(refused)
}

/// Where the server can be asked: the parameter `port`, else its first place without TLS, else its first.
fn place(context: &Context, config: &ApacheConfig) -> Listen {
    let localhost = if context.boolean("use_ipv6") { "[::1]" } else { "localhost" };
    let given = context.value("port").parse().ok().filter(|port: &u16| *port > 0);
    let of_port = |listen: &&Listen| given.is_none_or(|port| listen.port == port);
    let mut places = config.listens.iter().filter(of_port);
    let first = places.clone().find(|listen| !listen.tls).or_else(|| places.next()).cloned();
    let port = given.or(config.port).unwrap_or(80);
    let mut place = first.unwrap_or(Listen { host: localhost.to_owned(), port, tls: false });
    if place.host == "localhost" {
        place.host = localhost.to_owned();
    }
    place
}

fn base_url(context: &Context, config: &ApacheConfig) -> String {
    let Listen { host, port, tls } = place(context, config);
    format!("http{}://{host}:{port}", if tls { "s" } else { "" })
}

/// Somebody is there: any answer in HTTP, or where TLS is spoken, an accepted connection.
fn answers(context: &Context, config: &ApacheConfig) -> bool {
    let Ok(url) = Url::parse(&base_url(context, config)) else { return false };
    let seen = match http::get(&url, None, CONNECT_LIMIT) {
        Ok(_) | Err(HttpError::Redirections(_)) => true,
        // It sent us on to a page that cannot be had here, or speaks TLS itself.
        Err(HttpError::Tls(_) | HttpError::Url(_)) if !url.tls => true,
        Err(_) => url.tls && http::connect(&url, CONNECT_LIMIT).is_ok(),
    };
    if seen {
        context.log.debug(&format!("Something answers at {}", base_url(context, config)));
    }
    seen
}

#[derive(Default)]
struct Request<'a> {
    url: &'a str,
    credentials: Option<(&'a str, &'a str)>,
    /// Program that fetches the page.
    client: &'a str,
    /// Its options.
    options: &'a str,
}

/// The page, fetched by ourselves unless a program was asked for. What is behind TLS needs one.
fn fetch(context: &Context, request: &Request<'_>) -> Result<Vec<u8>, String> {
    let url = Url::parse(request.url).map_err(|error| error.to_string())?;
    let known = matches!(request.client, "" | "curl" | "wget") && request.options.is_empty();
    if known && !url.tls {
        let authorization = request.credentials.map(|(user, password)| basic_authorization(user, password));
        let page: Page =
            http::get(&url, authorization.as_deref(), PAGE_LIMIT).map_err(|error| error.to_string())?;
        // As wget: the page of an error is no page.
        return if (200..300).contains(&page.status) {
            Ok(page.body)
        } else {
            Err(format!("{} answers with status {}", request.url, page.status))
        };
    }
    let client = match (request.client, context.value("client")) {
        ("", "") => ["wget", "curl"].into_iter().find(|name| command::find(name).is_some()).unwrap_or(""),
        ("", client) | (client, _) => client,
    };
    if client.is_empty() {
        return Err(format!("{} is behind TLS: that needs wget or curl", request.url));
    }
    let finished =
        client_program(client, request).limit(PAGE_LIMIT).run().map_err(|error| error.to_string())?;
    Ok(finished.stdout.into_bytes())
}

/// As RFC 7617 wants it.
fn basic_authorization(user: &str, password: &str) -> String {
    let mut value = b"Basic ".to_vec();
    base64::encode(format!("{user}:{password}").as_bytes(), &mut value);
    String::from_utf8_lossy(&value).into_owned()
}

fn client_program(client: &str, request: &Request<'_>) -> Program {
    let options: Vec<&str> = request.options.split_whitespace().collect();
    let program = Program::new(client);
    let program = match client {
        "curl" => program.args(["-o", "-", "-Ss", "-L", "--interface", "lo"]),
        "wget" => program.args(["-O-", "-q", "--no-proxy"]),
        _ => program,
    };
    // Secrets do not belong on a command line.
    let program = match (client, request.credentials) {
        ("curl", Some((user, password))) => {
            let quoted = format!("{user}:{password}").replace('\\', "\\\\").replace('"', "\\\"");
            program.args(["-K", "-"]).input(format!("user = \"{quoted}\"\n"))
        }
        ("wget", Some((user, password))) => {
            program.args([format!("--http-user={user}"), format!("--http-password={password}")])
        }
        _ => program,
    };
    program.args(options).args([request.url])
}

/// A test of `testconffile`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Test {
    url: String,
    pattern: String,
    user: String,
    password: String,
    client: String,
    options: String,
}

impl Test {
    /// The test of that name, or the first when the name is empty. One that is not there is empty.
    fn read(text: &str, name: &str) -> Result<Self, String> {
        let mut test = Self::default();
        let mut inside = false;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = value.trim();
            if !inside {
                inside = key == "test" && (name.is_empty() || name == value);
                continue;
            }
            let place = match key {
                "url" => &mut test.url,
                "match" => &mut test.pattern,
                "user" => &mut test.user,
                "password" => &mut test.password,
                "client" => &mut test.client,
                "client_opts" => &mut test.options,
                "end" => break,
                _ if key.is_empty() || key.starts_with('#') => continue,
                _ => return Err(format!("{number}: {key}: unknown keyword")),
            };
            value.clone_into(place);
        }
        Ok(test)
    }
}

#[cfg(test)]
mod tests {
    use super::super::apache::APACHE;
    use super::super::Call;
    use super::*;

    fn context(parameters: &[(&str, &str)]) -> Context {
        let call = parameters.iter().fold(Call::new("x"), |call, (name, value)| call.with(name, value));
        Context { print: false, ..Context::new(&APACHE, call) }
    }

    #[test]
    fn the_place_to_ask_is_where_it_listens() {
        let listen = |host: &str, port, tls| Listen { host: host.to_owned(), port, tls };
        let listens = vec![listen("localhost", 443, true), listen("10.0.0.1", 81, false)];
        let config = ApacheConfig { listens, ..ApacheConfig::default() };
        let base =
            |parameters: &[(&str, &str)], config: &ApacheConfig| base_url(&context(parameters), config);
        assert_eq!(base(&[], &config), "http://10.0.0.1:81");
        assert_eq!(base(&[("port", "443"), ("use_ipv6", "yes")], &config), "https://[::1]:443");
        assert_eq!(base(&[("port", "82")], &config), "http://localhost:82");
        assert_eq!(base(&[("port", "x")], &ApacheConfig::default()), "http://localhost:80");
        let old = ApacheConfig { port: Some(8080), ..ApacheConfig::default() };
        assert_eq!(base(&[], &old), "http://localhost:8080");
    }

    #[test]
    fn tests_in_a_file() {
        let text = "# comment\ntest one\n\turl /a\n\tmatch x y\nend\ntest two\nuser u\n\n#c\npassword p q\nclient curl\nclient_opts -k\n";
        let first = Test { url: "/a".into(), pattern: "x y".into(), ..Test::default() };
        assert_eq!(Test::read(text, "").unwrap(), first);
        let second = Test::read(text, "two").unwrap();
        assert_eq!((second.user.as_str(), second.password.as_str()), ("u", "p q"));
        assert_eq!((second.client.as_str(), second.options.as_str()), ("curl", "-k"));
        assert_eq!(basic_authorization("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(Test::read(text, "three").unwrap(), Test::default());
        assert_eq!(Test::read("test\nfly high\n", "").unwrap_err(), "2: fly: unknown keyword");
        assert!(Test::read("\0\u{ff}\ntest x\n\0\n", "").is_err());
    }

    #[test]
    fn what_cannot_be_asked_is_a_configuration_error() {
        let code = |result: Result<(), CheckFailure>| result.unwrap_err().code;
        let config = ApacheConfig::default();
        assert_eq!(code(deep(&context(&[]), &config)), ExitCode::NotConfigured);
        assert_eq!(
            code(deep(&context(&[("testurl", "/"), ("testregex10", "(")]), &config)),
            ExitCode::NotConfigured
        );
        assert_eq!(
            code(basic(&context(&[("statusurl", "http://127.0.0.1:1/")]), &config)),
            ExitCode::GenericError
        );
    }
}
