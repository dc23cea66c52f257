//! The simulated wires between the hosts: loss, bursts, delay, duplication, replay, cuts.
//!
//! Every draw comes from [`Random`], so that one seed gives the same run on every machine.

/// A seeded generator (splitmix64). Its sequence must never change: seeds are kept in test names
/// and bug reports.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator for that seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high.saturating_sub(low) + 1)
    }

    /// True in that many of a thousand cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.next() % 1000 < permille
    }

    /// One of the values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[(self.next() % values.len() as u64) as usize]
    }
}

/// What the wires do to packets, the same on every link.
#[derive(Debug, Clone, Default)]
pub struct NetworkFaults {
    /// Single packets lost, of a thousand.
    pub loss_permille: u64,
    /// A packet that begins a burst in which everything is lost, of a thousand.
    pub burst_permille: u64,
    /// Longest burst.
    pub burst_max_ms: u64,
    /// Shortest and longest time on the wire; a wide range reorders.
    pub delay_ms: (u64, u64),
    /// Packets that arrive twice, of a thousand.
    pub duplicate_permille: u64,
    /// Packets that someone sends again much later, of a thousand.
    pub replay_permille: u64,
    /// Latest such replay.
    pub replay_max_ms: u64,
}

/// The wires: a matrix of directions, each with several links.
#[derive(Debug)]
pub struct Network {
    random: Random,
    nodes: usize,
    links: usize,
    cut: Vec<bool>,
    burst_until_ms: Vec<u64>,
    /// What happens to packets.
    pub faults: NetworkFaults,
}

impl Network {
    /// Wires without any fault.
    pub fn new(seed: u64, nodes: usize, links: usize) -> Self {
        let size = nodes * nodes * links;
        Self {
            random: Random::new(seed),
            nodes,
            links,
            cut: vec![false; size],
            burst_until_ms: vec![0; size],
            faults: NetworkFaults::default(),
        }
    }

    /// The number of links between each two hosts.
    pub fn links(&self) -> usize {
        self.links
    }

    /// Cuts or mends one direction of one link. Packets already on the wire still arrive.
    pub fn set_cut(&mut self, from: usize, to: usize, link: usize, cut: bool) {
        let at = self.index(from, to, link);
        self.cut[at] = cut;
    }

    /// Mends everything and takes away every fault.
    pub fn heal(&mut self) {
        self.cut.fill(false);
        self.burst_until_ms.fill(0);
        self.faults = NetworkFaults { delay_ms: (0, 2), ..NetworkFaults::default() };
    }

    /// A packet enters a wire: the delays after which copies of it arrive, none when it is lost.
    pub fn route(&mut self, now_ms: u64, from: usize, to: usize, link: usize) -> Vec<u64> {
        let at = self.index(from, to, link);
        let faults = self.faults.clone();
        let random = &mut self.random;
        if faults.burst_permille > 0 && random.chance(faults.burst_permille) {
            self.burst_until_ms[at] = now_ms + random.between(1, faults.burst_max_ms);
        }
        let lost = random.chance(faults.loss_permille);
        if self.cut[at] || now_ms < self.burst_until_ms[at] || lost {
            return Vec::new();
        }
        let mut delays = vec![random.between(faults.delay_ms.0, faults.delay_ms.1)];
        if random.chance(faults.duplicate_permille) {
            delays.push(random.between(faults.delay_ms.0, faults.delay_ms.1));
        }
        if random.chance(faults.replay_permille) {
            delays.push(random.between(faults.delay_ms.1, faults.replay_max_ms));
        }
        delays
    }

    fn index(&self, from: usize, to: usize, link: usize) -> usize {
        assert!(from < self.nodes && to < self.nodes && link < self.links);
        (from * self.nodes + to) * self.links + link
    }
}

#[test]
fn the_sequence_never_changes() {
    let mut random = Random::new(1);
    let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
    assert_eq!(first, [0x910a_2dec_8902_5cc1, 0xbeeb_8da1_658e_ec67, 0xf893_a2ee_fb32_555e]);
}

#[test]
fn a_cut_stops_one_direction_of_one_link() {
    let mut network = Network::new(7, 2, 2);
    network.set_cut(0, 1, 0, true);
    assert!(network.route(5, 0, 1, 0).is_empty());
    assert_eq!(network.route(5, 0, 1, 1), [0]);
    assert_eq!(network.route(5, 1, 0, 0), [0]);
    network.heal();
    assert_eq!(network.route(5, 0, 1, 0).len(), 1);
}

#[test]
fn faults_happen_as_often_as_asked() {
    let mut network = Network::new(3, 2, 1);
    network.faults = NetworkFaults {
        loss_permille: 200,
        duplicate_permille: 100,
        delay_ms: (1, 9),
        ..NetworkFaults::default()
    };
    let arrivals: Vec<Vec<u64>> = (0..10_000).map(|now_ms| network.route(now_ms, 0, 1, 0)).collect();
    let lost = arrivals.iter().filter(|copies| copies.is_empty()).count();
    let twice = arrivals.iter().filter(|copies| copies.len() == 2).count();
    assert!((1_800..2_200).contains(&lost), "{lost}");
    assert!((650..950).contains(&twice), "{twice}");
    assert!(arrivals.iter().flatten().all(|delay_ms| (1..=9).contains(delay_ms)));
}

#[test]
fn a_burst_loses_everything_for_a_while() {
    let mut network = Network::new(3, 2, 1);
    network.faults = NetworkFaults { burst_permille: 5, burst_max_ms: 50, ..NetworkFaults::default() };
    let lost: Vec<bool> = (0..10_000).map(|now_ms| network.route(now_ms, 0, 1, 0).is_empty()).collect();
    let longest = lost.split(|gone| !gone).map(<[bool]>::len).max();
    assert!(longest > Some(20), "{longest:?}");
}
