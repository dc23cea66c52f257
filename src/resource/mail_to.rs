//! MailTo: mail to the administrators when a group comes or goes (agents spec 2.7).
//!
//! The mail goes through sendmail, and where there is none to a mail server by SMTP: `smtp_server`, else
//! port 25 of this host. A mail that cannot be sent is an error in the log and does not keep a group from
//! moving, as in the original.

use std::io::Read;
use std::time::Duration;

use crate::net::smtp;
use crate::sys::time::{formatted, unix_time_s};

use super::command::{find, Program};
use super::script_log::ScriptLog;
use super::{pseudo, Action, Agent, Call, Context, ExitCode, Parameter, Timeouts, WrongArguments};

/// The agent.
pub const MAIL_TO: Agent = Agent {
    name: "MailTo",
    summary: "Mail when a group comes or goes",
    description: "Sends mail to administrators on start and stop: through sendmail, or to a mail server \
                  where there is no sendmail.",
    usage: "Usage: $0 <email> [<subject>] $ACTIONS",
    ocf_usage: "Usage: $0 {start|stop|status|monitor|meta-data|validate-all}",
    parameters: &[
        Parameter::string("email", "Addresses", "Mail addresses, separated by commas.").required(),
        Parameter::string("subject", "Subject", "How the subject begins.").or(SUBJECT),
        Parameter::string(
            "smtp_server",
            "Mail server",
            "Host, with :port or without, that takes mail by SMTP. Where it is given sendmail is not asked.",
        ),
    ],
    timeouts_s: Timeouts { start: 40, stop: 40, monitor: 10 },
    from_arguments: |arguments| match arguments {
        [] => Err(WrongArguments::saying("At least 1 Email address has to be given!")),
        [email] => Ok(Call::new("MailTo").with("email", email)),
        [email, subject] => Ok(Call::new("MailTo").with("email", email).with("subject", subject)),
        more => {
            let count = more.len() + 1;
            let text = format!("Additional parameters found: {count} but max. 3 are allowed!");
            Err(WrongArguments::saying(text))
        }
    },
    run,
    ..Agent::BASE
};

const SUBJECT: &str = "Resource Group";
/// Where sendmail is, when it is not in PATH.
const SENDMAIL: [&str; 3] = ["sendmail", "/usr/sbin/sendmail", "/usr/lib/sendmail"];
const SMTP_SERVER: &str = "localhost";
/// Longest alarm that is mailed, bytes.
const ALARM_MAX_BYTES: u64 = 16 * 1024;
/// For all of a mail. Mail is not worth keeping a group waiting.
const LIMIT: Duration = Duration::from_secs(30);

fn run(context: &Context, action: Action) -> ExitCode {
    let file = format!("MailTo_{}", context.instance);
    if matches!(action, Action::Status | Action::Monitor) {
        let active = pseudo::is_active(&file);
        context.say(if active { "running" } else { "stopped" });
        return if active { ExitCode::Success } else { ExitCode::NotRunning };
    }
    if context.value("email").is_empty() {
        context.exit_reason("At least 1 Email address has to be given!");
        return ExitCode::NotConfigured;
    }
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let date = formatted(unix_time_s(), c"%a %b %e %H:%M:%S %Z %Y");
    let begin = subject_of(context.value("subject"));
    let (subject, noted) = match action {
        Action::Start => (format!("{begin} Takeover in progress at {date} on {host}"), pseudo::start(&file)),
        Action::Stop => {
            (format!("{begin} Migrating resource away at {date} from {host}"), pseudo::stop(&file))
        }
        _ => return ExitCode::Success,
    };
    send(context, &subject, action, &host);
    match noted {
        Ok(()) => ExitCode::Success,
        Err(error) => {
            context.log.error(&format!("Cannot note the state of {}: {error}", context.instance));
            ExitCode::GenericError
        }
    }
}

/// What begins with less than two characters stands for the default.
fn subject_of(subject: &str) -> String {
    let words: Vec<&str> = subject.split_whitespace().collect();
    match words.first() {
        Some(first) if first.chars().count() >= 2 => words.join(" "),
        _ => SUBJECT.to_owned(),
    }
}

fn send(context: &Context, subject: &str, action: Action, host: &str) {
    let log = &context.log;
    let recipients = recipients_of(context.value("email"));
    if recipients.is_empty() {
        return log.error(&format!("{:?} is no mail address: no mail is sent", context.value("email")));
    }
    let command_line = format!("{} {}", context.called_as, action.as_str());
    let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = format!("        {subject}\n \n        Command line was:\n        {command_line}\n");
    let message = message(&subject, &recipients, &text, host);
    if let Err(why) = deliver(&recipients, context.value("smtp_server"), &message, host) {
        log.error(&format!("No mail to {}: {why}", recipients.join(", ")));
    }
}

/// Mails an alarm of the daemon: `arguments` are the addresses and, where given, the mail server;
/// standard input has the subject in its first line and then the text. The value is the exit code.
pub(super) fn alarm(arguments: &[&str], log: &ScriptLog) -> u8 {
    let mut input = Vec::new();
    let read = std::io::stdin().lock().take(ALARM_MAX_BYTES).read_to_end(&mut input);
    let input = String::from_utf8_lossy(&input).into_owned();
    let recipients = recipients_of(arguments.first().copied().unwrap_or_default());
    let (subject, text) = input.split_once('\n').unwrap_or((&input, ""));
    if read.is_err() || recipients.is_empty() || subject.is_empty() {
        return 1;
    }
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let message = message(subject, &recipients, text, &host);
    match deliver(&recipients, arguments.get(1).copied().unwrap_or_default(), &message, &host) {
        Ok(()) => 0,
        Err(why) => {
            log.line(&format!("ERROR: No mail to {}: {why}", recipients.join(", ")));
            1
        }
    }
}

/// Through sendmail, where no server is given and there is one, else by SMTP.
fn deliver(recipients: &[String], server: &str, message: &str, host: &str) -> Result<(), String> {
    let sendmail = SENDMAIL.into_iter().find_map(find).filter(|_| server.is_empty());
    match &sendmail {
        Some(path) => {
            let program = Program::new(path.display().to_string()).args(["-i", "--"]).args(recipients);
            program.input(message).merged().limit(LIMIT).run().map_err(|error| error.to_string()).and_then(
                |finished| match finished.code {
                    0 => Ok(()),
                    code => Err(format!("{} ended with {code}: {}", path.display(), finished.stdout.trim())),
                },
            )
        }
        None => {
            let server = if server.is_empty() { SMTP_SERVER } else { server };
            let mail = smtp::Mail { from: &format!("root@{host}"), recipients, message };
            smtp::send(server, host, &mail, LIMIT)
        }
    }
}

/// Addresses without anything that could be a command of SMTP or an option of sendmail.
fn recipients_of(text: &str) -> Vec<String> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | '\\');
    let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
    parts.filter(|part| !part.contains(forbidden) && !part.starts_with('-')).map(str::to_owned).collect()
}

/// Header and text.
fn message(subject: &str, recipients: &[String], text: &str, host: &str) -> String {
    let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let date = formatted(unix_time_s(), c"%a, %d %b %Y %H:%M:%S %z");
    let (unix_s, pid, to) = (unix_time_s(), std::process::id(), recipients.join(", "));
    format!(
        "From: root@{host}\nTo: {to}\nSubject: {subject}\nDate: {date}\nMessage-ID: <{unix_s}.{pid}.MailTo@{host}>\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\
         {text}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_subjects_are_the_default() {
        assert_eq!(subject_of("Web  server"), "Web server");
        assert_eq!(subject_of("a web server"), SUBJECT);
        assert_eq!(subject_of(""), SUBJECT);
    }

    #[test]
    fn recipients_are_addresses() {
        assert_eq!(recipients_of("a@b,c@d e"), ["a@b", "c@d", "e"]);
        assert!(recipients_of("-oQ/tmp,a@b\r\nDATA,<x>,\"|sh\"").is_empty());
    }

    #[test]
    fn headers_are_one_line_each() {
        let text = message("a\nBcc: x\r\n", &["a@b".to_owned()], "body\n", "h");
        assert!(text.contains("Subject: a Bcc: x  \n"), "{text}");
        assert!(text.ends_with("\n\nbody\n"), "{text}");
    }
}
