//! Heartbeat media: the same bytes over every link, and whatever comes back (messaging spec 6).
//!
//! A [`MediaSet`] never fails for good. An interface that is missing, goes away or changes its
//! addresses is reported once, and [`MediaSet::maintain`] opens what belongs to it when it is
//! back. Ping hosts are media too: asked with every beat, they answer or do not. Sending never waits: what the kernel does not take at once is dropped and counted, as
//! the next heartbeat is worth more than the last.
//!
//! Nothing here logs; lines are collected for [`MediaSet::take_events`].

mod bcast;
mod echo;
mod mcast;
mod mcast6;
mod ping;
mod ping6;
mod ping_group;
mod report;
mod serial;
mod ucast;
mod ucast6;
mod udp;
mod watch;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use thiserror::Error;

use crate::config::settings::MediumConfig;
use crate::log::LogLine;
use crate::sys::interface::InterfaceProbe;
use crate::sys::time::monotonic_ms;
use crate::types::{LinkName, LogLevel, NodeName};
use echo::Echo;
use report::Reporter;
use serial::SerialLine;
use udp::{Receiver, UdpMedium};
use watch::Watch;

/// The buffer that any packet fits into: the longest message, which only serial lines carry.
pub const RECEIVE_BUFFER_BYTES: usize = crate::wire::MESSAGE_MAX_BYTES;

/// The most media in one set (messaging spec 5.2).
pub const MEDIA_MAX: usize = 64;

/// How often interfaces are looked at.
const MAINTAIN_INTERVAL_MS: u64 = 1000;

/// One kind of medium: what its file says about it.
struct MediumKind {
    /// The directive in ha.cf, which is also its name in log lines.
    word: &'static str,
    /// What such a medium needs, when the configuration is of this kind.
    plan: fn(&MediumConfig, udp_port: u16) -> Option<MediumPlan>,
}

/// What a medium needs, by what it is made of.
enum MediumPlan {
    Udp(udp::Plan),
    Echo(echo::Plan),
    Serial(serial::Plan),
}

/// THE TABLE of media.
const MEDIA: &[&MediumKind] = &[
    &bcast::KIND,
    &mcast::KIND,
    &ucast::KIND,
    &mcast6::KIND,
    &ucast6::KIND,
    &serial::KIND,
    &ping::KIND,
    &ping6::KIND,
    &ping_group::KIND,
];

/// The directives of ha.cf that name a medium.
pub fn directives() -> impl Iterator<Item = &'static str> {
    MEDIA.iter().map(|kind| kind.word)
}

/// Why a set of media could not even be set up. Nothing was opened.
#[derive(Debug, Error)]
pub enum MediaError {
    /// More than [`MEDIA_MAX`].
    #[error("Too many media specified (> {MEDIA_MAX})")]
    TooMany,
    /// None.
    #[error("No heartbeat media defined")]
    None,
    /// A device name that is no link name.
    #[error("[{0}] is no name of a device; correct it in ha.cf")]
    Device(String),
    /// No descriptor for asking about interfaces.
    #[error("cannot ask the system about network interfaces: {0}")]
    Probe(io::Error),
    /// Called outside a tokio runtime.
    #[error("media can only be opened inside a tokio runtime")]
    NoRuntime,
}

/// Something that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A packet.
    Packet {
        /// The link it came over.
        link: LinkName,
        /// Bytes of it in the buffer. A longer one than the buffer is cut off.
        length: usize,
        /// Who sent it, as the packet claims; `None` for a serial line.
        from: Option<SocketAddr>,
    },
    /// A ping node answered our own question.
    PingAnswer {
        /// Its name.
        node: NodeName,
    },
}

impl Received {
    /// The bytes of the packet in the buffer it was received into; none for an answer.
    pub fn bytes<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        match self {
            Self::Packet { length, .. } => &buffer[..*length],
            Self::PingAnswer { .. } => &[],
        }
    }
}

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendReport {
    /// Media that took it.
    pub sent: usize,
    /// Media that did not.
    pub dropped: usize,
}

/// All media of a node.
#[derive(Debug)]
pub struct MediaSet {
    media: Vec<UdpMedium>,
    receivers: Vec<Receiver>,
    lines: Vec<SerialLine>,
    echo: Echo,
    first_receiver: usize,
    probe: InterfaceProbe,
    watch: Watch,
    reporter: Reporter,
    next_maintain_ms: u64,
}

impl MediaSet {
    /// Sets up the media and opens what can be opened now; `now_ms` is the monotonic clock. Needs
    /// to be called inside a tokio runtime. `udp_port` serves the media without a port of their
    /// own.
    ///
    /// # Errors
    /// [`MediaError`]. A device that is missing is none.
    pub fn open(configs: &[MediumConfig], udp_port: u16, now_ms: u64) -> Result<Self, MediaError> {
        match configs.len() {
            0 => return Err(MediaError::None),
            1..=MEDIA_MAX => {}
            _ => return Err(MediaError::TooMany),
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(MediaError::NoRuntime);
        }
        let mut set = Self {
            media: Vec::new(),
            receivers: Vec::new(),
            lines: Vec::new(),
            echo: Echo::new(),
            first_receiver: 0,
            probe: InterfaceProbe::open().map_err(MediaError::Probe)?,
            watch: Watch::open(),
            reporter: Reporter::new(),
            next_maintain_ms: now_ms,
        };
        for config in configs {
            set.add(config, udp_port)?;
        }
        set.maintain(now_ms);
        Ok(set)
    }

    fn add(&mut self, config: &MediumConfig, udp_port: u16) -> Result<(), MediaError> {
        let plan = MEDIA.iter().find_map(|kind| Some((kind.word, (kind.plan)(config, udp_port)?)));
        match (plan, config.link()) {
            (Some((word, MediumPlan::Udp(plan))), Some(link)) => self.add_udp(word, plan, link),
            (Some((_, MediumPlan::Serial(plan))), Some(link)) => self.lines.push(SerialLine::new(link, plan)),
            (Some((word, MediumPlan::Echo(plan))), _) => self.echo.add(word, plan),
            _ => return Err(MediaError::Device(format!("{config:?}"))),
        }
        Ok(())
    }

    fn add_udp(&mut self, word: &'static str, plan: udp::Plan, link: LinkName) {
        if !self.receivers.iter().any(|receiver| receiver.serves(&plan.receive)) {
            self.receivers.push(Receiver::new(plan.receive.clone(), link.clone()));
        }
        self.media.push(UdpMedium::new(word, link, plan));
    }

    /// The links' names, each once: datagram media in the order of the configuration, then serial
    /// lines. Ping nodes are no links to anybody.
    pub fn links(&self) -> Vec<LinkName> {
        let all =
            self.media.iter().map(|medium| &medium.link).chain(self.lines.iter().map(|line| &line.link));
        let mut links: Vec<LinkName> = Vec::new();
        for link in all {
            if !links.contains(link) {
                links.push(link.clone());
            }
        }
        links
    }

    /// Some medium is a serial line, for which [`MediaSet::send_with_line`] needs a text.
    pub fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Waits for the next packet or answer on any medium. Cancel-safe: a datagram is either returned or
    /// still in the kernel. With nothing open it waits for ever; [`MediaSet::maintain`] needs a
    /// timer beside it. `buffer` should have [`RECEIVE_BUFFER_BYTES`].
    pub async fn receive(&mut self, buffer: &mut [u8]) -> Received {
        poll_fn(|context| self.poll_receive(context, buffer)).await
    }

    /// As [`MediaSet::receive`], for a poll function. The media take turns at being asked first.
    pub fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Received> {
        if let Poll::Ready(node) = self.echo.poll_receive(context, buffer, &mut self.reporter) {
            return Poll::Ready(Received::PingAnswer { node });
        }
        let now_ms = monotonic_ms();
        for line in &mut self.lines {
            if let Poll::Ready(length) = line.poll_receive(context, buffer, now_ms, &mut self.reporter) {
                return Poll::Ready(Received::Packet { link: line.link.clone(), length, from: None });
            }
        }
        let count = self.receivers.len();
        for offset in 0..count {
            let index = (self.first_receiver + offset) % count;
            let poll = self.receivers[index].poll_receive(context, buffer, &mut self.reporter);
            if let Poll::Ready((length, from)) = poll {
                return Poll::Ready(self.received(index, length, from));
            }
        }
        Poll::Pending
    }

    /// Takes a datagram that is already there, asking the kernel itself instead of the runtime's
    /// idea of it. After a pause of this process, call it until it returns `None` (or often
    /// enough) before any timer is looked at: the packets that came meanwhile are news.
    pub fn try_receive(&mut self, buffer: &mut [u8]) -> Option<Received> {
        let count = self.receivers.len();
        for offset in 0..count {
            let index = (self.first_receiver + offset) % count;
            if let Some((length, from)) = self.receivers[index].try_receive(buffer, &mut self.reporter) {
                return Some(self.received(index, length, from));
            }
        }
        for line in &mut self.lines {
            if let Some(length) = line.try_receive(buffer, &mut self.reporter) {
                return Some(Received::Packet { link: line.link.clone(), length, from: None });
            }
        }
        let node = self.echo.try_receive(buffer, &mut self.reporter)?;
        Some(Received::PingAnswer { node })
    }

    /// Takes all datagrams that are already there, at most `limit`, since a peer may send faster
    /// than we read. Returns how many it were.
    pub fn drain(
        &mut self,
        buffer: &mut [u8],
        limit: usize,
        mut handle: impl FnMut(&Received, &[u8]),
    ) -> usize {
        for count in 0..limit {
            let Some(received) = self.try_receive(buffer) else {
                return count;
            };
            handle(&received, received.bytes(buffer));
        }
        limit
    }

    fn received(&mut self, index: usize, length: usize, from: SocketAddr) -> Received {
        self.first_receiver = (index + 1) % self.receivers.len();
        Received::Packet { link: self.receivers[index].link.clone(), length, from: Some(from) }
    }

    /// Asks every ping node once, without waiting. `payload` makes the signed message that a node
    /// (directive, name) is to send back; `None` leaves the node out.
    pub fn ask_ping_nodes(
        &mut self,
        payload: impl FnMut(&'static str, &NodeName) -> Option<Vec<u8>>,
        now_ms: u64,
    ) {
        self.reporter.set_time(now_ms);
        self.echo.send(payload, &mut self.reporter);
    }

    /// As [`MediaSet::send_with_line`], where no medium is a serial line.
    pub fn send(&mut self, packet: &[u8], now_ms: u64) -> SendReport {
        self.send_with_line(packet, None, now_ms)
    }

    /// Sends one message over every medium without waiting: `packet` as a datagram, and `line`, the
    /// same message as classic text, over serial lines. Ping nodes get nothing.
    pub fn send_with_line(&mut self, packet: &[u8], line: Option<&[u8]>, now_ms: u64) -> SendReport {
        let mut report = SendReport::default();
        self.reporter.set_time(now_ms);
        for medium in &mut self.media {
            if medium.send(packet, &mut self.reporter) {
                report.sent += 1;
            } else {
                report.dropped += 1;
            }
        }
        for serial in &mut self.lines {
            if line.is_some_and(|line| serial.send(line, now_ms, &mut self.reporter)) {
                report.sent += 1;
            } else {
                report.dropped += 1;
            }
        }
        if report.sent == 0 {
            let text = "send_to_all_media: No working comm channels to write to.";
            self.reporter.report("no working channel", LogLevel::Critical, || text.to_owned());
        }
        report
    }

    /// Looks after interfaces that came, went or changed. Cheap; to be called at least once a
    /// second, does its work at most that often.
    pub fn maintain(&mut self, now_ms: u64) {
        if now_ms < self.next_maintain_ms {
            return;
        }
        self.next_maintain_ms = now_ms.saturating_add(MAINTAIN_INTERVAL_MS);
        self.reporter.set_time(now_ms);
        self.echo.maintain(&mut self.reporter);
        for line in &mut self.lines {
            line.maintain(now_ms, &mut self.reporter);
        }
        let changes = self.watch.take_changes(now_ms);
        for receiver in &mut self.receivers {
            receiver.maintain(&self.probe, &changes, &mut self.reporter);
        }
        for medium in &mut self.media {
            medium.maintain(&self.probe, &changes, &mut self.reporter);
        }
    }

    /// The log lines since the last call, oldest first; at most a few hundred are kept.
    pub fn take_events(&mut self) -> Vec<LogLine> {
        self.reporter.take_events()
    }

    /// What to log when the media are about to be closed.
    pub fn close(&mut self) -> Vec<LogLine> {
        let mut events = self.take_events();
        events.extend(self.media.iter().filter_map(UdpMedium::closed_line));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{PingConfig, PingKind};

    fn ping(kind: PingKind) -> MediumConfig {
        let name = NodeName::new("gateway").unwrap();
        MediumConfig::Ping(PingConfig { kind, name, hosts: Vec::new(), nodes_before: 0 })
    }

    #[test]
    fn table_knows_every_kind_of_configuration() {
        let device = "eth0".to_owned();
        let configs = [
            MediumConfig::Broadcast { device: device.clone() },
            MediumConfig::Multicast {
                device: device.clone(),
                group: std::net::Ipv4Addr::new(225, 0, 0, 1),
                port: 694,
                ttl: 1,
                loop_back: false,
            },
            MediumConfig::Unicast { device: device.clone(), peer: None, peer_text: "beta".to_owned() },
            MediumConfig::Multicast6 {
                device: device.clone(),
                group: "ff12::1".parse().unwrap(),
                port: 694,
                hops: 1,
                loop_back: false,
            },
            MediumConfig::Unicast6 { device: device.clone(), peer: "fe80::1".parse().unwrap() },
            MediumConfig::Serial { device: "/dev/ttyS0".to_owned(), baud: 19200 },
            ping(PingKind::Host),
            ping(PingKind::Host6),
            ping(PingKind::Group),
        ];
        for config in &configs {
            assert_eq!(MEDIA.iter().filter_map(|kind| (kind.plan)(config, 694)).count(), 1, "{config:?}");
        }
        assert_eq!(
            directives().collect::<Vec<_>>(),
            ["bcast", "mcast", "ucast", "mcast6", "ucast6", "serial", "ping", "ping6", "ping_group"]
        );
    }

    #[test]
    fn bad_sets_are_refused() {
        let config = MediumConfig::Broadcast { device: "eth0".to_owned() };
        assert!(matches!(MediaSet::open(&[], 694, 0), Err(MediaError::None)));
        let many = vec![config.clone(); MEDIA_MAX + 1];
        assert!(matches!(MediaSet::open(&many, 694, 0), Err(MediaError::TooMany)));
        assert!(matches!(MediaSet::open(&[config], 694, 0), Err(MediaError::NoRuntime)));
    }
}
