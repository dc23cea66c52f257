//! Lives that follow one which was killed, with the guard between them (design §5, rule 1).

use ha_core::cluster::event::{Command, Input, Job};
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::original_peer::Play;

/// Killed again and again: the last life has nothing to do but to say that everything is stopped. The
/// peer counts on what was held here, so it must hear that at once and not after deadtime.
#[test]
fn a_life_that_only_says_goodbye_is_heard() {
    let mut play = Play::unstarted(AutoFailback::Off, None);
    play.now_ms = 10_000;
    play.input(Input::FormerBeat(9_990));
    play.input(Input::Start);
    play.command(Command::Shutdown);
    play.run_ms(50);
    assert!(play.done.contains(&Job::ReleaseActive(ResourceSet::ALL)), "{:?}", play.done);
    let sent: Vec<String> = play.sent.iter().map(|message| message.kind().to_owned()).collect();
    assert_eq!(sent.iter().filter(|kind| *kind == "shutdone").count(), 1, "{sent:?}");
    play.run_ms(3000);
    assert!(play.log.iter().any(|line| line.ends_with("Heartbeat shutdown complete.")), "{:#?}", play.log);
}

/// A life that goes on too late asks whether its resources were taken (design §5, rule 1).
#[test]
fn a_life_that_goes_on_too_late_knows_it() {
    let mut play = Play::unstarted(AutoFailback::Off, Some(ResourceSet::ALL));
    play.now_ms = 10_000;
    play.input(Input::FormerBeat(9_000));
    play.input(Input::Start);
    assert!(play.log.iter().any(|line| line.contains("asks whether its resources were taken over")));
}
