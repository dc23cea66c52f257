//! One of ours with a model of 3.0.6: within each budget, every rule holds in every state.
//!
//! What an original does against the rules by itself is kept out: its children do not work on one
//! group at the same time, one that only looks what is there takes no time, its words are not
//! compared with its deeds, and it may serve on where we cannot hear it. It is not
//! reloaded while a child of it works, for it would claim what it has not started, nor is anything asked on
//! either node while one looks: it would start what it gives away. In the middle of a dialogue
//! with a peer that starts anew within deadtime it waits on, for an hour: it says "transition" all
//! that time, and what it holds and believes must be right nevertheless. Where it was about to start
//! what the former life gave, it says that nobody has it, and both start it: that must end.

use crate::pair_of_ours::all_hold;

#[test]
fn starts_and_commands() {
    all_hold(&["original2", "original2 cold", "original1 cold", "original1 off cold"]);
    all_hold(&["original2 commands=1", "original1 commands=1", "original1 off commands=1"]);
}

#[test]
fn accidents() {
    all_hold(&["original2 crashes=1", "original1 off crashes=1", "original1 kills=1", "original2 kills=1"]);
    all_hold(&["original2 losses=2", "original1 off losses=2", "original2 cuts=1"]);
    all_hold(&["original2 off pauses=1"]);
}
