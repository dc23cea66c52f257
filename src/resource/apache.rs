//! apache: a web server of Apache's, started, stopped and asked for its status page.
//!
//! Rules and texts of the original (agents spec 2.7) in its CentOS 6 and 7 generation. What differs, on
//! purpose: no curl or wget is needed; what is in [`apache_config`](super::apache_config); a process of
//! the number in the pid file counts only when it is a web server (a number is used again after a crash);
//! a start whose server ends with an error fails at once instead of waiting for ever; `testname` works.
//! Nothing of the distribution's configuration is changed (`a2enmod status`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::net::state;

use super::apache_check::{self, CheckFailure};
use super::apache_config::ApacheConfig;
use super::apache_process as process;
use super::command::{self, Program};
use super::{Action, Agent, Call, Context, ExitCode, Parameter, Timeouts, WrongArguments};

/// The agent.
pub const APACHE: Agent = Agent {
    name: "apache",
    summary: "Manages an Apache Web server instance",
    description: "Starts and stops an Apache web server and looks whether it answers. The configuration \
file tells where it listens, where its process number is and where its status page is; without a status \
page, any answer counts.",
    usage: "usage: $0 [config-file-pathname] $ACTIONS",
    parameters: PARAMETERS,
    check_levels: &[0, 10],
    timeouts_s: Timeouts { start: 40, stop: 60, monitor: 20 },
    from_arguments: |arguments| match arguments {
        [] => Ok(Call::new("apache_")),
        [file] => Ok(Call::new(format!("apache_{file}")).with("configfile", file)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

#[rustfmt::skip]
const PARAMETERS: &[Parameter] = &[
    Parameter::string("configfile", "Configuration file",
        "Path of the server's configuration; by default /etc/apache2/httpd.conf, /etc/apache2/apache2.conf or \
/etc/httpd/conf/httpd.conf, whichever is there.").unique(),
    Parameter::string("httpd", "Server program", "Path of the server's program.").or("/usr/sbin/httpd"),
    Parameter::integer("port", "Port to ask", "By default the first one that the configuration names."),
    Parameter::string("statusurl", "URL to ask",
        "By default the location with the handler server-status, on the first address and port that the \
configuration names."),
    Parameter::string("testregex", "Expression for the page",
        "Extended regular expression that the page must match, whatever the case of letters.").or("</ *html *>"),
    Parameter::string("client", "Program that fetches pages",
        "Only for check level 10 and for https: curl, wget, or another one that takes a URL and writes the page."),
    Parameter::string("testurl", "URL for check level 10",
        "A page to be tested at check level 10; without http in front, a path on this server."),
    Parameter::string("testregex10", "Expression for that page",
        "Extended regular expression that the page of testurl must match."),
    Parameter::string("testconffile", "File with tests",
        "A file that describes the test of check level 10: lines test NAME, url, match, user, password, client, \
client_opts, end."),
    Parameter::string("testname", "Name of the test", "Which test of testconffile; by default the first."),
    Parameter::string("options", "More options", "Further options for the server's command line."),
    Parameter::string("envfiles", "Files with variables",
        "Shell files that are read before the server starts; their variables are its environment.").or("/etc/apache2/envvars"),
    Parameter::boolean("use_ipv6", "Ask over IPv6", "Ask localhost by its IPv6 address.").or("false"),
];

/// The original's list of servers, in its order.
const SERVERS: &[&str] = &[
    "/sbin/httpd2",
    "/usr/sbin/httpd2",
    "/usr/sbin/apache2",
    "/sbin/httpd",
    "/usr/sbin/httpd",
    "/usr/sbin/apache",
    IBM_SERVER,
];
const IBM_SERVER: &str = "/opt/IBMHTTPServer/bin/httpd";
const CONFIGURATIONS: &[&str] =
    &["/etc/apache2/httpd.conf", "/etc/apache2/apache2.conf", RED_HAT_CONFIGURATION];
const RED_HAT_CONFIGURATION: &str = "/etc/httpd/conf/httpd.conf";
/// How long the server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether it does.
const START_PAUSE: Duration = Duration::from_millis(100);
/// How long a server that runs may give wrong answers before its start has failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Reading the files with variables.
const VARIABLES_LIMIT: Duration = Duration::from_secs(10);
/// A running server that is being told to read its configuration again has no pid file for a moment.
const PID_FILE_LIMIT: Duration = Duration::from_secs(5);

fn run(context: &Context, action: Action) -> ExitCode {
    let server = Server::from_context(context);
    if let Err((text, code)) = server.validate() {
        context.exit_reason(&text);
        const INVALID: &str = "environment is invalid, resource considered stopped";
        return match action {
            Action::Stop => {
                context.log.info(INVALID);
                process::end_leftovers(context, &server.program, &server.config_file);
                ExitCode::Success
            }
            Action::Status | Action::Monitor if context.is_probe() => {
                context.log.info(INVALID);
                ExitCode::NotRunning
            }
            Action::Status | Action::Monitor => {
                context.exit_reason(INVALID);
                ExitCode::GenericError
            }
            _ => {
                context.exit_reason(INVALID);
                code
            }
        };
    }
    match action {
        Action::Start => server.start(),
        Action::Stop => server.stop(),
        Action::ValidateAll => ExitCode::Success,
        _ => server.monitor(!context.is_probe()),
    }
}

/// One web server with what its configuration says.
struct Server<'a> {
    context: &'a Context,
    program: PathBuf,
    config_file: PathBuf,
    config: ApacheConfig,
    /// From the files with variables.
    variables: BTreeMap<String, String>,
    pid_file: PathBuf,
    /// The configuration names no pid file: ours is given on the command line.
    gives_pid_file: bool,
}

impl<'a> Server<'a> {
    fn from_context(context: &'a Context) -> Self {
        let variables = variables_of(context);
        let (program, default_config) = program_of(context);
        let config_file = match context.value("configfile") {
            "" => default_config,
            path => PathBuf::from(path),
        };
        let config = ApacheConfig::read(&config_file, &variables).unwrap_or_default();
        let own_pid_file = || {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            let name = name.split('-').next().unwrap_or_default().to_owned();
            Path::new("/var/run").join(format!("{name}-{}.pid", context.instance.replace('/', "_")))
        };
        let gives_pid_file = config.pid_file.is_none();
        let pid_file = config.pid_file.clone().unwrap_or_else(own_pid_file);
        Self { context, program, config_file, config, variables, pid_file, gives_pid_file }
    }

    /// The error is what is said and the exit code of start.
    fn validate(&self) -> Result<(), (String, ExitCode)> {
        let fail = |text: String| Err((text, ExitCode::NotInstalled));
        if self.program.as_os_str().is_empty() {
            return fail("apache httpd program not found".to_owned());
        }
        if command::find(&self.program.to_string_lossy()).is_none() {
            return fail(format!("HTTPD {} not found or is not an executable!", self.program.display()));
        }
        if !self.config_file.is_file() {
            return fail(format!("Configuration file {} not found!", self.config_file.display()));
        }
        let tests = self.context.value("testconffile");
        if !tests.is_empty() && std::fs::File::open(tests).is_err() {
            return fail(format!("Configuration file {tests} not found, or not readable."));
        }
        let url = self.context.value("testurl");
        if tests.is_empty() && !url.is_empty() && url.trim().is_empty() {
            let text = format!("testurl: \"{url}\" seems to be an empty string?");
            return Err((text, ExitCode::NotConfigured));
        }
        Ok(())
    }

    /// The server's process, if it lives.
    fn process(&self) -> Option<u32> {
        process::server_in(&self.pid_file, &self.program, &self.config_file)
    }

    fn start(&self) -> ExitCode {
        let log = &self.context.log;
        if let Some(pid) = self.process() {
            log.info(&format!("apache already running (pid {pid})"));
            return ExitCode::Success;
        }
        for unread in &self.config.unread {
            log.warn(&format!("Not read from {}: {unread}", self.config_file.display()));
        }
        self.make_directories();
        self.remove_stale_pid_file();
        let started = self.command().run_logged(log);
        match self.wait_until_it_answers(started) {
            Ok(()) => ExitCode::Success,
            Err(failure) => {
                // Of a failed start nothing is left.
                self.context.exit_reason(&failure.text);
                self.stop();
                failure.code
            }
        }
    }

    /// `started`: the program said that it started a server. If not, one that an interrupted start left,
    /// and that has no pid file yet, may be coming up.
    fn wait_until_it_answers(&self, started: bool) -> Result<(), CheckFailure> {
        let begin = Instant::now();
        let (mut said, mut alive_since) = (begin, None);
        loop {
            if self.process().is_some() {
                let since = *alive_since.get_or_insert_with(Instant::now);
                match self.answers() {
                    // The original takes the first answer; the pid file comes before the socket.
                    Err(failure) if since.elapsed() > ANSWER_LIMIT => return Err(failure),
                    Err(_) => (),
                    Ok(()) => return Ok(()),
                }
            } else if !started && !process::any(&self.program, &self.config_file) {
                return Err(CheckFailure::error("apache could not be started; the log says why"));
            } else if begin.elapsed() > START_LIMIT {
                let text = format!("apache did not come up within {} s", START_LIMIT.as_secs());
                return Err(CheckFailure::error(&text));
            } else if said.elapsed() >= Duration::from_secs(1) {
                let file = self.config_file.display();
                self.context.log.info(&format!("waiting for apache {file} to come up"));
                said = Instant::now();
            }
            std::thread::sleep(START_PAUSE);
        }
    }

    fn command(&self) -> Program {
        let mut program = Program::new(self.program.to_string_lossy()).limit(START_LIMIT);
        for (name, value) in &self.variables {
            program = program.env(name, value);
        }
        let options = self.context.value("options").split_whitespace();
        let program = program.args(["-DSTATUS"]).args(options).args(["-f"]).args([&self.config_file]);
        if self.gives_pid_file {
            return program.args(["-c".to_owned(), format!("PidFile {}", self.pid_file.display())]);
        }
        program
    }

    /// The server itself refuses to start when the number of a dead one is somebody else's by now.
    fn remove_stale_pid_file(&self) {
        let foreign = process::named_in(&self.pid_file).is_some_and(crate::sys::process::is_alive);
        if foreign && !process::any(&self.program, &self.config_file) {
            self.context
                .log
                .warn(&format!("{} names a process that is no web server", self.pid_file.display()));
            // The server says so itself when it is still there.
            let _ = std::fs::remove_file(&self.pid_file);
        }
    }

    /// What Debian's apache2ctl does before each start: /var/run is empty after a boot.
    fn make_directories(&self) {
        let named =
            ["APACHE_RUN_DIR", "APACHE_LOCK_DIR"].map(|name| self.variables.get(name).map(PathBuf::from));
        for directory in named.into_iter().flatten().chain(self.pid_file.parent().map(Path::to_owned)) {
            if directory.is_absolute() && !directory.exists() {
                if let Err(error) = std::fs::create_dir_all(&directory) {
                    self.context.log.warn(&format!("Cannot make {}: {error}", directory.display()));
                }
            }
        }
        let user =
            self.variables.get("APACHE_RUN_USER").and_then(|name| nix::unistd::User::from_name(name).ok()?);
        if let (Some(user), Some(directory)) = (user, self.variables.get("APACHE_LOCK_DIR")) {
            // The server says so itself when it cannot lock.
            let _ = nix::unistd::chown(Path::new(directory), Some(user.uid), None);
        }
    }

    fn stop(&self) -> ExitCode {
        let log = &self.context.log;
        let Some(pid) = self.process() else {
            log.info("apache is not running.");
            process::end_leftovers(self.context, &self.program, &self.config_file);
            return ExitCode::Success;
        };
        log.info(&format!("Killing apache PID {pid}"));
        process::end(pid);
        process::end_leftovers(self.context, &self.program, &self.config_file);
        if self.process() == Some(pid) {
            self.context.exit_reason(&format!("apache still running ({pid}). Killing pid failed."));
            return ExitCode::GenericError;
        }
        log.info("apache stopped.");
        ExitCode::Success
    }

    fn monitor(&self, waits_for_pid_file: bool) -> ExitCode {
        let end = Instant::now() + PID_FILE_LIMIT;
        while self.process().is_none() {
            if !waits_for_pid_file || state::read(&self.pid_file).is_ok() || Instant::now() > end {
                self.context.log.info("apache not running");
                return ExitCode::NotRunning;
            }
            std::thread::sleep(START_PAUSE);
        }
        match self.answers() {
            Ok(()) => ExitCode::Success,
            Err(failure) => {
                if waits_for_pid_file {
                    self.context.exit_reason(&failure.text);
                }
                failure.code
            }
        }
    }

    fn answers(&self) -> Result<(), CheckFailure> {
        if self.context.check_level() >= 10 {
            apache_check::deep(self.context, &self.config)
        } else {
            apache_check::basic(self.context, &self.config)
        }
    }
}

/// The program and the configuration that belongs to it by default. Empty when there is none.
fn program_of(context: &Context) -> (PathBuf, PathBuf) {
    let is_there = |path: &&&str| Path::new(path).is_file();
    let config = CONFIGURATIONS.iter().find(is_there).unwrap_or(&RED_HAT_CONFIGURATION);
    let given = context.parameters.get("httpd");
    if let Some(path) = given.filter(|path| command::find(path).is_some() && path.contains('/')) {
        return (PathBuf::from(path), PathBuf::from(config));
    }
    let found = SERVERS.iter().find(|path| command::find(path).is_some());
    if let (Some(found), Some(given)) = (found, given) {
        context.log.info(&format!("Using {found} as HTTPD instead of {given}"));
    }
    (found.map(PathBuf::from).unwrap_or_default(), PathBuf::from(config))
}

/// The environment after the shell has read the files: they are shell programs, and the server is meant
/// to see what they export.
fn variables_of(context: &Context) -> BTreeMap<String, String> {
    let mut files: Vec<&str> = context.value("envfiles").split_whitespace().collect();
    files.retain(|file| Path::new(file).is_file());
    if files.is_empty() {
        return std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
    }
    let text = "for f; do . \"$f\"; done >/dev/null; exec cat /proc/self/environ";
    let run = Program::new("/bin/sh").args(["-c", text, "sh"]).args(files).limit(VARIABLES_LIMIT).run();
    match run {
        Ok(finished) if finished.code == 0 => finished
            .stdout
            .split('\0')
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        Ok(finished) => {
            context.log.warn(&format!("Cannot read the variables: {}", finished.stderr.trim()));
            BTreeMap::new()
        }
        Err(error) => {
            context.log.warn(&format!("Cannot read the variables: {error}"));
            BTreeMap::new()
        }
    }
}
