//! What `stonith` says of itself and of devices: usage, `-h`, `-m`.

use std::io::{self, Write};

use super::device::Parameter;
use super::{list, rhcs, Kind};
use crate::sys::print;

/// Ways to give the values, in two lines of the usage.
const VALUES: &str =
    "{-p stonith-device-parameters | -F stonith-device-parameters-file | -E | name=value...} [-c count]";

/// The usage text, as the original prints it.
pub fn usage(name: &str) -> String {
    format!(
        "usage:\n\
         \t {name} [-svh] -L\n\
         \t {name} [-svh] -t stonith-device-type -n\n\
         \t {name} [-svh] -t stonith-device-type -m\n\
         \t {name} [-svh] -t stonith-device-type {VALUES} -lS\n\
         \t {name} [-svh] -t stonith-device-type {VALUES} -T {{reset|on|off}} nodename\n\
         \n\
         where:\n\
         \t-L\tlist supported stonith device types\n\
         \t-l\tlist hosts controlled by this stonith device\n\
         \t-S\treport stonith device status\n\
         \t-s\tsilent\n\
         \t-v\tverbose\n\
         \t-n\toutput the config names of stonith-device-parameters\n\
         \t-m\tdisplay meta-data of the stonith device type\n\
         \t-h\tdisplay detailed help message with stonith device description(s)\n"
    )
}

/// `-h`: the usage and every device, or one device alone.
pub fn show(name: &str, device: Option<&str>) {
    let mut text = String::new();
    let names = match device {
        Some(device) => vec![device.to_owned()],
        None => {
            text.push_str(&usage(name));
            text.push_str("\nSTONITH -t device types and associated configuration details:\n");
            list()
        }
    };
    for name in &names {
        match Kind::find(name).filter(Kind::is_usable) {
            Some(kind) => text.push_str(&explain(name, &kind)),
            None => print::error_line(&format!("Invalid device type: '{name}'")),
        }
    }
    let _ = io::stdout().write_all(text.as_bytes());
}

fn explain(name: &str, kind: &Kind) -> String {
    let (description, url) = match kind {
        Kind::BuiltIn(device) => {
            let url = (!device.url.is_empty()).then(|| format!("{}\n", device.url));
            (Some(format!("{}\n", device.description)), url)
        }
        Kind::External(plugin) => {
            let text = |verb| plugin.information(verb).map(with_end);
            (text("getinfo-devdescr"), text("getinfo-devurl"))
        }
        Kind::Rhcs(program) => {
            let data = program.meta_data().unwrap_or_default();
            let text = |name| rhcs::element(&data, name).map(|text| with_end(text.to_owned()));
            (text("longdesc"), text("vendor-url"))
        }
        Kind::Folder(_) => (None, None),
    };
    let mut text = format!("\n\nSTONITH Device: {name} - {}", description.unwrap_or_default());
    if let Some(url) = url {
        text.push_str(&format!("For more information see {url}"));
    }
    // A plugin that does not tell its parameters takes no values.
    let Some(parameters) = kind.parameters() else { return text };
    text.push_str(&format!("List of valid parameter names for {name} STONITH device:\n"));
    for parameter in parameters {
        text.push_str(&format!("\t{parameter}\n"));
    }
    text.push_str(
        "For Config info [-p] syntax, give each of the above parameters in order as\n\
         the -p value.\n\
         Arguments are separated by white space.\n\
         Config file [-F] syntax is the same as -p, except # at the start of a line\n\
         denotes a comment\n",
    );
    text
}

/// Programs may leave out the end of their last line.
fn with_end(text: String) -> String {
    if text.ends_with('\n') {
        text
    } else {
        format!("{text}\n")
    }
}

/// `-m`: the meta-data that Pacemaker reads (agents spec 3.2).
pub fn meta_data(name: &str, kind: &Kind) -> String {
    let missing = |what: &str| {
        let _ = write!(io::stderr(), "stonithRA plugin: no {what}");
        "<!-- no value -->".to_owned()
    };
    let (long, short, parameters) = match kind {
        Kind::BuiltIn(device) => {
            let parameters = built_in_parameters(device.parameters);
            (Some(device.description.to_owned()), Some(device.id.to_owned()), Some(parameters))
        }
        Kind::External(plugin) => {
            // What is missing is said at once, as in the original.
            let text = |verb, what| Some(plugin.information(verb).unwrap_or_else(|| missing(what)));
            let long = text("getinfo-devdescr", "long description");
            let short = text("getinfo-devid", "short description");
            (long, short, text("getinfo-xml", "list of parameters"))
        }
        Kind::Rhcs(program) => {
            let data = program.meta_data();
            let inner =
                |name: &str| data.as_deref().map(|data| rhcs::element(data, name).unwrap_or_default());
            let parameters = inner("parameters").map(|inner| format!("<parameters>{inner}</parameters>"));
            let short = data.is_some().then(|| format!("fence_{}", name.trim_start_matches("rhcs/")));
            (inner("longdesc").map(str::to_owned), short, parameters)
        }
        Kind::Folder(_) => (None, None, None),
    };
    let long = long.unwrap_or_else(|| missing("long description"));
    let short = short.unwrap_or_else(|| missing("short description"));
    let parameters = parameters.unwrap_or_else(|| missing("list of parameters"));
    format!(
        "<?xml version=\"1.0\"?>\n\
         <!DOCTYPE resource-agent SYSTEM \"ra-api-1.dtd\">\n\
         <resource-agent name=\"{name}\">\n\
         <version>1.0</version>\n\
         <longdesc lang=\"en\">\n{}\n</longdesc>\n\
         <shortdesc lang=\"en\">{}</shortdesc>\n\
         {parameters}\n\
         <actions>\n\
         <action name=\"start\"   timeout=\"20\" />\n\
         <action name=\"stop\"    timeout=\"15\" />\n\
         <action name=\"status\"  timeout=\"20\" />\n\
         <action name=\"monitor\" timeout=\"20\" interval=\"3600\" />\n\
         <action name=\"meta-data\"  timeout=\"15\" />\n\
         </actions>\n\
         <special tag=\"heartbeat\">\n\
         <version>2.0</version>\n\
         </special>\n\
         </resource-agent>",
        escaped(&long),
        escaped(&short),
    )
}

fn built_in_parameters(parameters: &[Parameter]) -> String {
    let mut text = "<parameters>".to_owned();
    for parameter in parameters {
        let Some(required) = parameter.described else { continue };
        text.push_str(&format!(
            "<parameter name=\"{}\" unique=\"{}\" required=\"{}\"><content type=\"string\" />\n\
             <shortdesc lang=\"en\">\n{}</shortdesc>\n\
             <longdesc lang=\"en\">\n{}</longdesc>\n\
             </parameter>\n",
            parameter.name,
            u8::from(parameter.unique),
            u8::from(required),
            escaped(parameter.title),
            escaped(parameter.text),
        ));
    }
    text.push_str("</parameters>");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
