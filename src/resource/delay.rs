//! Delay: a resource that does nothing but take its time.
//!
//! Rules of the CentOS 6 and 7 generation: without a value of their own stop and monitor take as long as
//! start, which takes 30 seconds (agents spec 2.7).

use std::time::Duration;

use super::{pseudo, Action, Agent, Call, Context, ExitCode, Parameter, Timeouts, WrongArguments};

/// The agent.
pub const DELAY: Agent = Agent {
    name: "Delay",
    summary: "Waits for a time on start, stop and monitor",
    description: "A resource for tests: each operation on it takes the time that is asked for.",
    usage: "usage: $0 [delay [stopdelay]] $ACTIONS",
    ocf_usage: "usage: $0 {start|stop|status|monitor|meta-data|validate-all}",
    parameters: &[
        Parameter::integer("startdelay", "Start delay", "Seconds that start takes.").or("30"),
        Parameter::integer("stopdelay", "Stop delay", "Seconds that stop takes; as start when absent."),
        Parameter::integer("mondelay", "Monitor delay", "Seconds that monitor takes; as start when absent."),
    ],
    timeouts_s: Timeouts { start: 60, stop: 60, monitor: 60 },
    from_arguments: |arguments| match arguments {
        // The name of the instance says 10, as in the original, whatever the delay is.
        [] => Ok(Call::new("Delay_10")),
        [start] => Ok(Call::new(instance(start)).with("startdelay", start)),
        [start, stop] => Ok(Call::new(instance(start)).with("startdelay", start).with("stopdelay", stop)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

fn instance(start: &str) -> String {
    format!("Delay_{}", if start.is_empty() { "10" } else { start })
}

fn run(context: &Context, action: Action) -> ExitCode {
    let log = &context.log;
    let file = format!("Delay_{}", context.instance);
    let delays = || Delays::of(context).ok_or(ExitCode::WrongArguments);
    let done = match action {
        Action::Start if pseudo::is_active(&file) => {
            log.info("Delay already running.");
            Ok(ExitCode::Success)
        }
        Action::Start => delays().map(|delays| {
            let made = pseudo::start(&file);
            std::thread::sleep(delays.start);
            noted(context, made)
        }),
        Action::Stop if !pseudo::is_active(&file) => {
            log.info("Delay already stopped.");
            Ok(ExitCode::Success)
        }
        Action::Stop => delays().map(|delays| {
            let removed = pseudo::stop(&file);
            std::thread::sleep(delays.stop);
            noted(context, removed)
        }),
        Action::Monitor => delays().map(|delays| {
            std::thread::sleep(delays.monitor);
            status(context, &file)
        }),
        Action::Status => Ok(status(context, &file)),
        Action::ValidateAll => delays().map(|_| {
            context.say("Validate OK");
            ExitCode::Success
        }),
        _ => Ok(ExitCode::Unimplemented),
    };
    done.unwrap_or_else(|code| {
        context.exit_reason("Some of the instance parameters are invalid");
        code
    })
}

fn status(context: &Context, file: &str) -> ExitCode {
    if pseudo::is_active(file) {
        context.log.info("Delay is running OK");
        return ExitCode::Success;
    }
    context.log.info("Delay is stopped");
    ExitCode::NotRunning
}

fn noted(context: &Context, result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::Success,
        Err(error) => {
            context.log.error(&format!("Cannot note the state of {}: {error}", context.instance));
            ExitCode::NoPermission
        }
    }
}

struct Delays {
    start: Duration,
    stop: Duration,
    monitor: Duration,
}

impl Delays {
    /// `None` when one is no number of seconds.
    fn of(context: &Context) -> Option<Self> {
        let start = context.value("startdelay");
        let or_start = |name: &str| context.parameters.get(name).unwrap_or(start);
        Some(Self {
            start: seconds(start)?,
            stop: seconds(or_start("stopdelay"))?,
            monitor: seconds(or_start("mondelay"))?,
        })
    }
}

/// Digits with at most one dot.
fn seconds(text: &str) -> Option<Duration> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value: f64 = text.parse().ok().filter(|_| plain)?;
    Duration::try_from_secs_f64(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_digits_with_a_dot() {
        assert_eq!(seconds("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(seconds("30"), Some(Duration::from_secs(30)));
        for text in ["", ".", "1.2.3", "-1", "1e9", "inf", "a", &"9".repeat(400)] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
