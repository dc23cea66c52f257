//! `ha check` as people see it: the files, and what only this host can tell.

use std::path::Path;

use super::live;
use crate::config::check::{check_from, CheckReport, Scripts, INIT_DIRECTORY};
use crate::config::host::HostFacts;
use crate::config::Origin;

/// How far a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What the three files say.
    Files,
    /// That, and how it fits this host ([`live`]).
    Host,
}

/// Checks files, or texts that are not written yet. Changes nothing; may ask a name server.
pub fn check(origin: Origin<'_>, directory: &Path, host: &HostFacts, extent: Extent) -> CheckReport {
    let ocf_directory = crate::config::script_class::ocf_directory();
    let scripts = Scripts {
        built_in: &crate::resource::AGENT_NAMES,
        init_directory: Path::new(INIT_DIRECTORY),
        ocf_directory: &ocf_directory,
    };
    check_from(origin, directory, host, scripts, |read| match extent {
        Extent::Files => Vec::new(),
        Extent::Host => live::remarks(directory, read, host),
    })
}
