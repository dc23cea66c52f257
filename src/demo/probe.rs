//! The client's view: it asks an address at a fixed pace and notes who answered when.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{clock_gettime, ClockId};

pub use super::protocol::Answer;
use super::responder::{PORT, QUESTION_BYTES};

/// Answers kept per probe: half an hour at one each millisecond; later ones are dropped.
const ANSWERS_KEPT: usize = 1_800_000;

/// What the client's answers say about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Last answer before, CLOCK_MONOTONIC in microseconds.
    pub from_us: u64,
    /// First answer after it.
    pub until_us: u64,
    /// Who answered before.
    pub host_before: u8,
    /// Who answered after.
    pub host_after: u8,
}

impl Silence {
    /// How long nobody answered, in microseconds. Never below the pace of asking.
    pub fn length_us(&self) -> u64 {
        self.until_us - self.from_us
    }
}

/// Now, CLOCK_MONOTONIC in microseconds: the clock of all times of a probe, the same in every
/// namespace.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    now.as_micros() as u64
}

/// The longest silence between two answers of which the later came after `event_us`. `None` with
/// fewer than two such answers.
pub fn longest_silence(answers: &[Answer], event_us: u64) -> Option<Silence> {
    longest(answers.windows(2).filter(|pair| pair[1].at_us > event_us))
}

/// The silence around the moment when the answering host changed to `host` for the last time after
/// `event_us`, or the longest one when it did not change.
pub fn silence_of_switch(answers: &[Answer], event_us: u64, host: u8) -> Option<Silence> {
    let after = || answers.windows(2).filter(|pair| pair[1].at_us > event_us);
    let switched = after().filter(|pair| pair[0].host != pair[1].host && pair[1].host == host);
    longest(switched).or_else(|| longest(after()))
}

fn longest<'a>(pairs: impl Iterator<Item = &'a [Answer]>) -> Option<Silence> {
    pairs
        .map(|pair| Silence {
            from_us: pair[0].at_us,
            until_us: pair[1].at_us.max(pair[0].at_us),
            host_before: pair[0].host,
            host_after: pair[1].host,
        })
        .max_by_key(Silence::length_us)
}

/// A running client, in the namespace that asks.
pub(crate) struct Asker {
    answers: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
}

impl Asker {
    /// Starts asking `address`.
    pub(crate) fn start(address: Ipv4Addr, interval_us: u64) -> io::Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let sender = (socket.try_clone()?, stop.clone());
        thread::spawn(move || ask(&sender.0, address, interval_us.max(100), &sender.1));
        let receiver = (answers.clone(), stop.clone());
        thread::spawn(move || listen(&socket, &receiver.0, &receiver.1));
        Ok(Self { answers, stop })
    }

    /// The answers from number `from` on, in order of arrival.
    pub(crate) fn answers(&self, from: usize) -> Vec<Answer> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(from..).unwrap_or_default().to_vec()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask(socket: &UdpSocket, address: Ipv4Addr, interval_us: u64, stop: &AtomicBool) {
    let interval = Duration::from_micros(interval_us);
    let mut due = Instant::now();
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let mut question = [0; QUESTION_BYTES];
        question[..8].copy_from_slice(&number.to_be_bytes());
        question[8..].copy_from_slice(&now_us().to_be_bytes());
        // An unreachable address is what the probe is there to see.
        let _ = socket.send_to(&question, (address, PORT));
        due += interval;
        match due.checked_duration_since(Instant::now()) {
            Some(left) => thread::sleep(left),
            None => due = Instant::now(),
        }
    }
}

fn listen(socket: &UdpSocket, answers: &Mutex<Vec<Answer>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut buffer = [0; QUESTION_BYTES + 1];
        let Ok((count, _)) = socket.recv_from(&mut buffer) else { continue };
        if count != buffer.len() {
            continue;
        }
        let at_us = now_us();
        let mut sent = [0; 8];
        sent.copy_from_slice(&buffer[8..QUESTION_BYTES]);
        let delay_us = at_us.saturating_sub(u64::from_be_bytes(sent));
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() < ANSWERS_KEPT {
            answers.push(Answer { at_us, delay_us, host: buffer[QUESTION_BYTES] });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(times: &[(u64, u8)]) -> Vec<Answer> {
        times.iter().map(|&(at_us, host)| Answer { at_us, delay_us: 1, host }).collect()
    }

    #[test]
    fn silence_before_the_event_does_not_count() {
        let seen = answers(&[(0, 1), (900, 1), (1000, 1), (1300, 2), (1400, 2)]);
        let silence = longest_silence(&seen, 950).expect("answers after the event");
        assert_eq!((silence.length_us(), silence.host_before, silence.host_after), (300, 1, 2));
    }

    #[test]
    fn a_silence_that_spans_the_event_counts() {
        let seen = answers(&[(0, 1), (900, 1)]);
        assert_eq!(longest_silence(&seen, 500).map(|silence| silence.length_us()), Some(900));
        assert_eq!(longest_silence(&seen, 900), None);
    }

    #[test]
    fn a_switch_is_told_from_a_longer_pause_on_one_host() {
        let seen = answers(&[(0, 1), (10, 1), (60, 1), (80, 2), (90, 2)]);
        let silence = silence_of_switch(&seen, 5, 2).expect("a switch");
        assert_eq!(silence.length_us(), 20);
        assert_eq!(silence_of_switch(&seen, 61, 1).map(|silence| silence.length_us()), Some(20));
    }
}
