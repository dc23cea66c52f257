//! Resource agents and the runner of groups.
