//! Directives of ours that watch and warn: what each does with one argument.

use super::apply::{Fault, Word};
use super::diagnostic::Severity;
use super::ha_cf::Reader;
use super::settings::AlarmTarget;

/// Most `alarm` lines.
const ALARMS_MAX: usize = 8;

/// `alarm PROGRAM [ARGUMENT ...]` or `alarm mail ADDRESS[,ADDRESS...] [smtp=HOST[:PORT]]`.
pub(super) fn alarm(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected a program with its full path, or mail and addresses separated by commas";
    let mut words = word.text.split_whitespace();
    let target = match words.next() {
        None => return Err(Fault::new("nobody is named", HELP)),
        Some("mail") => {
            let addresses = words.next().ok_or_else(|| Fault::new("the mail address is missing", HELP))?;
            if addresses.split(',').any(|address| !is_mail_address(address)) {
                return Err(Fault::new(format!("`{addresses}` is no list of mail addresses"), HELP));
            }
            let server = match words.next().map(|word| word.strip_prefix("smtp=").unwrap_or_default()) {
                None => None,
                Some("") => {
                    return Err(Fault::new("unknown word behind the addresses", "expected smtp=HOST[:PORT]"))
                }
                Some(server) => Some(server.to_owned()),
            };
            if words.next().is_some() {
                return Err(Fault::new("words follow the mail server", HELP));
            }
            AlarmTarget::Mail { addresses: addresses.to_owned(), server }
        }
        Some(path) if path.starts_with('/') => {
            if !(reader.host.is_executable)(path) {
                let message = format!("`{path}` cannot be executed: nobody will be told of alarms by it");
                let help = "put the program there; it is looked for again with each alarm".to_owned();
                reader.remark(Severity::Warning, reader.place(word), message, help);
            }
            AlarmTarget::Program { path: path.to_owned(), arguments: words.map(str::to_owned).collect() }
        }
        Some(other) => return Err(Fault::new(format!("`{other}` is neither mail nor a full path"), HELP)),
    };
    let alarms = &mut reader.draft.settings.alarms;
    if alarms.len() >= ALARMS_MAX {
        return Err(Fault::new(format!("more than {ALARMS_MAX} alarm lines"), ""));
    }
    alarms.push(target);
    Ok(())
}

/// As far as needed so that nothing in it is an option or a command.
fn is_mail_address(text: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\\');
    !text.is_empty() && !text.starts_with('-') && !text.contains(forbidden)
}
