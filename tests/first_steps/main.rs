//! The first steps of an administrator: `ha init`, `ha keygen`, `ha install`, `ha uninstall` and what
//! `ha check` says on a live host. Whatever is mistyped, interrupted or refused leaves nothing half-done.

#[path = "../common/mod.rs"]
mod common;

mod boot;
mod init;
mod install;
mod live;
mod manuals;
mod pair;
mod traces;
