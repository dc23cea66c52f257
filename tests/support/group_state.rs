//! What is really so with a group on a host of a simulated world.

/// One group on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// Nothing of it is here.
    Idle,
    /// A child is starting it: parts may already be active.
    Starting,
    /// It serves.
    Active,
    /// A child is stopping it: parts may still be active.
    Stopping,
}

impl GroupState {
    /// Something of the group may answer clients or write to its disks.
    pub fn is_present(self) -> bool {
        self != Self::Idle
    }
}

/// A host in a line of a printed run: its power and daemon, the groups that are on it, and what its
/// daemon says of itself.
pub fn cell(powered: bool, paused: bool, groups: &[GroupState], daemon: Option<&str>) -> String {
    let mut text = match (powered, paused, daemon) {
        (false, ..) => "off",
        (_, true, _) => "zzz",
        (_, _, None) => "---",
        _ => "up ",
    }
    .to_owned();
    for (group, state) in groups.iter().enumerate() {
        let mark = match state {
            GroupState::Idle => '.',
            GroupState::Starting => '+',
            GroupState::Active => '*',
            GroupState::Stopping => '-',
        };
        text.push_str(&format!(" {}{mark}", group + 1));
    }
    if let Some(daemon) = daemon {
        text.push_str(&format!(" {daemon}"));
    }
    text
}
