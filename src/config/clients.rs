//! Programs around the daemon: `respawn`, `failfast` and `apiauth` (messaging spec 7.5, 7.6).

use super::apply::{Fault, Word};
use super::diagnostic::Severity;
use super::ha_cf::Reader;
use super::settings::{ApiAuth, Client};
use crate::types::LogLevel;

/// Most `respawn` and `failfast` lines together: each is a process beside the daemon.
pub const CLIENTS_MAX: usize = 64;
/// Most `apiauth` lines.
const API_AUTH_MAX: usize = 200;
/// Most bytes of a client's name (messaging spec 7.6).
const CLIENT_NAME_MAX_BYTES: usize = 31;

/// Who may use the API when ha.cf has no line for that name (messaging spec 7.6).
const API_AUTH_DEFAULTS: [&str; 6] = [
    "ipfail uid=hacluster",
    "ccm uid=hacluster",
    "ping gid=haclient",
    "pingd uid=root",
    "lha-snmpagent uid=root",
    "anon uid=root gid=haclient",
];

pub(super) fn respawn(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    client(reader, word, false)
}

pub(super) fn failfast(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    client(reader, word, true)
}

fn client(reader: &mut Reader<'_>, word: &Word<'_>, fail_fast: bool) -> Result<(), Fault> {
    const HELP: &str = "expected a user, a program with its full path, and its arguments";
    let (user, command) = split_word(word.text);
    let Some(account) = (reader.host.user)(user).filter(|_| !user.is_empty()) else {
        let message = if user.is_empty() {
            "the user is missing".to_owned()
        } else {
            format!("there is no user `{user}`")
        };
        let fault = Fault::new(message, HELP);
        return Err(fault.error(format!("Invalid uid [{user}] specified for client child")));
    };
    let program = split_word(command).0;
    if !program.starts_with('/') {
        let fault = Fault::new(format!("`{program}` is not a full path"), HELP);
        return Err(fault.error(format!("Client child command [{command}] is not full pathname")));
    }
    let built_in = if (reader.host.is_executable)(program) {
        None
    } else {
        let name = program.rsplit('/').next().unwrap_or_default();
        let found = reader.host.applets.iter().find(|applet| **applet == name);
        Some(found.copied().ok_or_else(|| not_executable(program))?)
    };
    if let Some(applet) = built_in {
        let message = format!("there is no program {program}: the built-in {applet} runs instead");
        let help = format!("nothing has to be done; to be told no more, make {program} a link to ha");
        reader.remark(Severity::Hint, reader.place(word), message, help);
    }
    let clients = &mut reader.draft.settings.clients;
    if clients.len() >= CLIENTS_MAX {
        return Err(Fault::new(format!("more than {CLIENTS_MAX} clients"), ""));
    }
    clients.push(Client { command: command.to_owned(), user: user.to_owned(), account, fail_fast, built_in });
    Ok(())
}

fn not_executable(program: &str) -> Fault {
    let help = "expected a program that exists and may be executed";
    Fault::new(format!("`{program}` cannot be executed"), help)
        .error(format!("Client child command [{program}] is not executable"))
}

/// The first word and what follows it, without blanks between.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim_start())
}

pub(super) fn apiauth(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let refused = |reasons: Vec<String>| {
        let help = "expected a client name of up to 31 bytes, then uid=LIST or gid=LIST or both";
        let message = match reasons.first() {
            Some(reason) => format!("this is no rule for a client: {reason}"),
            None => "this is no rule for a client".to_owned(),
        };
        let fault = reasons.into_iter().fold(Fault::new(message, help), Fault::error);
        fault
            .error(format!("Invalid apiauth directive [{}]", word.text))
            .line(LogLevel::Info, "Syntax: apiauth client [uid=uidlist] [gid=gidlist]")
            .line(LogLevel::Info, "Where uidlist is a comma-separated list of uids,")
            .line(LogLevel::Info, "and gidlist is a comma-separated list of gids")
            .line(LogLevel::Info, "One or the other must be specified.")
    };
    let entry = parse_api_auth(reader, word.text).map_err(refused)?;
    let known = &mut reader.draft.settings.api_auth;
    if known.iter().any(|other| other.client == entry.client) {
        let text = format!("Duplicate apiauth directive for API client {}: [{}]", entry.client, word.text);
        return Err(refused(vec![text]));
    }
    if known.len() >= API_AUTH_MAX {
        return Err(Fault::new(format!("more than {API_AUTH_MAX} rules for clients"), ""));
    }
    known.push(entry);
    Ok(())
}

/// The error is what the original logs about it before its general lines.
fn parse_api_auth(reader: &Reader<'_>, text: &str) -> Result<ApiAuth, Vec<String>> {
    let mut words = text.split_whitespace().peekable();
    let name = words.next().unwrap_or_default();
    if name.len() > CLIENT_NAME_MAX_BYTES {
        return Err(vec![format!("client name [{text}] too long")]);
    }
    if words.peek().is_none() {
        return Err(Vec::new());
    }
    let (mut uids, mut gids) = (None, None);
    for word in words {
        let (kind, list, look_up): (_, _, LookUp<'_>) =
            match (word.strip_prefix("uid="), word.strip_prefix("gid=")) {
                (Some(list), _) => ("uid", list, &|name| (reader.host.user)(name).map(|user| user.uid)),
                (_, Some(list)) => ("gid", list, &|name| (reader.host.group)(name)),
                _ => return Err(vec!["Missing uid or gid in apiauth".into()]),
            };
        let place = if kind == "uid" { &mut uids } else { &mut gids };
        if place.is_some() {
            return Err(vec![format!("Duplicate {kind} list in apiauth")]);
        }
        let what = if kind == "uid" { "user" } else { "group" };
        *place = Some(numbers(list, look_up).map_err(|name| {
            vec![format!("Invalid {what} id name [{name}]"), format!("Bad {kind} list [{list}]")]
        })?);
    }
    Ok(ApiAuth { client: name.to_owned(), uids: uids.unwrap_or_default(), gids: gids.unwrap_or_default() })
}

/// The number behind a name.
type LookUp<'f> = &'f dyn Fn(&str) -> Option<u32>;

/// Names and numbers, comma separated; what follows the digits of a number is ignored, as the
/// original does. An empty list is nobody. The error is the first name that nobody has.
fn numbers<'l>(list: &'l str, look_up: LookUp<'_>) -> Result<Vec<u32>, &'l str> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let number = |one: &'l str| {
        let digits = one.len() - one.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match digits {
            0 => look_up(one).filter(|_| !one.is_empty()).ok_or(one),
            digits => one[..digits].parse().map_err(|_| one),
        }
    };
    list.split(',').map(number).collect()
}

/// Adds the rules the original has by itself. A user or group that this machine lacks is nobody.
pub(super) fn add_default_api_auth(reader: &mut Reader<'_>) {
    for line in API_AUTH_DEFAULTS {
        let name = split_word(line).0;
        if reader.draft.settings.api_auth.iter().any(|known| known.client == name) {
            continue;
        }
        let mut entry = ApiAuth { client: name.to_owned(), ..ApiAuth::default() };
        for word in line.split(' ').skip(1) {
            match word.split_once('=') {
                Some(("uid", user)) => entry.uids.extend((reader.host.user)(user).map(|user| user.uid)),
                Some((_, group)) => entry.gids.extend((reader.host.group)(group)),
                None => {}
            }
        }
        reader.draft.settings.api_auth.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_names_or_numbers() {
        let look_up = |name: &str| (name == "root").then_some(0);
        assert_eq!(numbers("root,12,12abc", &look_up), Ok(vec![0, 12, 12]));
        assert_eq!(numbers("", &look_up), Ok(vec![]));
        for (bad, name) in
            [("root,nobody-here", "nobody-here"), (",", ""), ("root,", ""), ("99999999999", "99999999999")]
        {
            assert_eq!(numbers(bad, &look_up), Err(name), "{bad}");
        }
    }

    #[test]
    fn words_are_cut_at_blanks() {
        assert_eq!(split_word(" root \t /bin/x  a b "), ("root", "/bin/x  a b"));
        assert_eq!(split_word(""), ("", ""));
    }
}
