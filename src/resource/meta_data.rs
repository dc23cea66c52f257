//! The XML description of an agent (OCF resource agent API 1.0), made from its table entry.

use std::fmt::Write;

use super::{Agent, Parameter};

/// The whole document.
pub fn xml(agent: &Agent) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE resource-agent SYSTEM \"ra-api-1.dtd\">\n\
         <resource-agent name=\"{name}\" version=\"1.0\">\n<version>1.0</version>\n\n\
         <longdesc lang=\"en\">\n{long}\n</longdesc>\n<shortdesc lang=\"en\">{short}</shortdesc>\n\n\
         <parameters>\n",
        name = escape(agent.name),
        long = escape(agent.description),
        short = escape(agent.summary),
    );
    for parameter in agent.parameters {
        text.push_str(&parameter_xml(parameter));
    }
    text.push_str("</parameters>\n\n<actions>\n");
    let timeouts = agent.timeouts_s;
    let restart = timeouts.start.saturating_add(timeouts.stop);
    let lasting = [("start", timeouts.start), ("stop", timeouts.stop), ("restart", restart)];
    // The description of the format knows no actions of an agent's own.
    for (name, timeout_s) in lasting.into_iter().chain([("status", timeouts.monitor)]) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "<action name=\"{name}\" timeout=\"{timeout_s}s\" />");
    }
    for level in agent.check_levels {
        let timeout_s = timeouts.monitor;
        let _ = writeln!(
            text,
            "<action name=\"monitor\" depth=\"{level}\" timeout=\"{timeout_s}s\" interval=\"10s\" />"
        );
    }
    for name in ["validate-all", "meta-data", "usage"] {
        let _ = writeln!(text, "<action name=\"{name}\" timeout=\"5s\" />");
    }
    text.push_str("</actions>\n</resource-agent>\n");
    text
}

fn parameter_xml(parameter: &Parameter) -> String {
    let (required, unique) = (u8::from(parameter.required), u8::from(parameter.unique));
    let default = match parameter.default {
        Some(value) => format!(" default=\"{}\"", escape(value)),
        None => String::new(),
    };
    format!(
        "<parameter name=\"{name}\" unique=\"{unique}\" required=\"{required}\">\n\
         <longdesc lang=\"en\">\n{long}\n</longdesc>\n<shortdesc lang=\"en\">{short}</shortdesc>\n\
         <content type=\"{kind}\"{default} />\n</parameter>\n",
        name = escape(parameter.name),
        long = escape(parameter.description),
        short = escape(parameter.summary),
        kind = escape(parameter.kind),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::AGENTS;
    use super::*;

    #[test]
    fn every_tag_is_closed() {
        for agent in AGENTS {
            let text = xml(agent);
            for tag in ["resource-agent", "longdesc", "shortdesc", "parameters", "parameter", "actions"] {
                let opened =
                    text.matches(&format!("<{tag}>")).count() + text.matches(&format!("<{tag} ")).count();
                assert_eq!(opened, text.matches(&format!("</{tag}>")).count(), "{tag}");
            }
            assert_eq!(text.matches("<parameter ").count(), agent.parameters.len());
        }
    }
}
