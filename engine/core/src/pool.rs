//! The nodes of one home. Invariant: as long as the same nodes are healthy, one key always gets the same node (rendezvous
//! hashing), so a domain pair or a pair of users keeps its link and with it its order; a node that fails loses only its own keys, and
//! has them back when it has been seen to work.
//!
//! A node that failed rests. When its rest is over it is *half open*: as long as another node is healthy nothing is trusted to it but one
//! attempt at a time, and only the success of that makes it healthy again. Where no node is healthy, all that have rested are tried.

use std::time::{Duration, Instant};

use crate::home::HostPort;
use crate::limits::{BACKOFF_SECONDS_MAX, CONNECT_SECONDS};
use crate::placement::score;
use crate::random::Random;

/// A node and its health.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it is.
    pub host: HostPort,
    /// Failed attempts since it last worked.
    pub failures: u32,
    /// Not to be tried before this.
    pub down_until: Option<Instant>,
    /// When it was tried while it was half open, and has not been heard of since.
    probed: Option<Instant>,
    name: String,
}

impl Node {
    fn is_healthy(&self) -> bool {
        self.failures == 0
    }

    fn has_rested(&self, now: Instant) -> bool {
        self.down_until.is_none_or(|until| until <= now)
    }

    /// Whether somebody is trying it. An attempt of which nothing was heard is forgotten.
    fn is_probed(&self, now: Instant) -> bool {
        self.probed.is_some_and(|at| now < at + Duration::from_secs(CONNECT_SECONDS))
    }
}

/// The nodes of a home.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    nodes: Vec<Node>,
}

impl Pool {
    /// All nodes healthy.
    pub fn new(hosts: &[HostPort]) -> Self {
        let nodes = hosts
            .iter()
            .map(|host| Node {
                host: host.clone(),
                failures: 0,
                down_until: None,
                probed: None,
                name: host.to_string(),
            })
            .collect();
        Self { nodes }
    }

    /// The node for a key among those that may be tried now; `Err` says when one may be tried again (`None`: there is no node).
    ///
    /// # Errors
    /// Every node is waiting after a failure.
    pub fn pick(&self, key: &str, now: Instant) -> Result<u16, Option<Instant>> {
        self.best(key, Node::is_healthy)
            .or_else(|| self.best(key, |node| node.has_rested(now)))
            .ok_or_else(|| self.nodes.iter().filter_map(|node| node.down_until).min())
    }

    /// The node to be dialed for a key: as [`Pool::pick`], or one that is half open, to see whether it works.
    ///
    /// # Errors
    /// As [`Pool::pick`].
    pub fn pick_to_dial(&mut self, key: &str, now: Instant) -> Result<u16, Option<Instant>> {
        let open = |node: &Node| node.is_healthy() || (node.has_rested(now) && !node.is_probed(now));
        let picked = match self.best(key, open).filter(|_| self.nodes.iter().any(Node::is_healthy)) {
            Some(index) => index,
            None => self.pick(key, now)?,
        };
        self.probe(picked, now);
        Ok(picked)
    }

    /// The node is tried: until it is heard of, nobody else tries it while it is half open.
    pub fn probe(&mut self, index: u16, now: Instant) {
        if let Some(node) = self.nodes.get_mut(usize::from(index)).filter(|node| !node.is_healthy()) {
            node.probed = Some(now);
        }
    }

    /// Whether the node has failed and was not seen to work since.
    pub fn is_failing(&self, index: u16) -> bool {
        self.node(index).is_some_and(|node| !node.is_healthy())
    }

    fn best(&self, key: &str, may: impl Fn(&Node) -> bool) -> Option<u16> {
        let nodes = self.nodes.iter().enumerate().filter(|(_, node)| may(node));
        let (index, _) = nodes.max_by_key(|(_, node)| score(key, &node.name))?;
        Some(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// The node with this index.
    pub fn node(&self, index: u16) -> Option<&Node> {
        self.nodes.get(usize::from(index))
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// An attempt to use the node failed: it rests, longer each time.
    pub fn fail(&mut self, index: u16, now: Instant, random: &mut Random) {
        if let Some(node) = self.nodes.get_mut(usize::from(index)) {
            node.failures = node.failures.saturating_add(1);
            node.down_until = Some(now + backoff(node.failures, random));
            node.probed = None;
        }
    }

    /// The node works.
    pub fn succeed(&mut self, index: u16) {
        if let Some(node) = self.nodes.get_mut(usize::from(index)) {
            node.failures = 0;
            node.down_until = None;
            node.probed = None;
        }
    }
}

/// How long to wait after so many failures in a row: random in a span that doubles (RFC 6120 §3.3), from half a second up.
pub fn backoff(failures: u32, random: &mut Random) -> Duration {
    let span_ms = (500_u64 << failures.saturating_sub(1).min(10)).min(BACKOFF_SECONDS_MAX * 1000);
    Duration::from_millis(span_ms / 4 + random.below(span_ms * 3 / 4 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Vec<HostPort> {
        names.iter().map(|name| HostPort { host: (*name).to_owned(), port: 5061 }).collect()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn a_failed_node_loses_only_its_own_keys() {
        let now = Instant::now();
        let mut pool = Pool::new(&hosts(&["a", "b", "c"]));
        let mut random = Random::new(1);
        let keys: Vec<String> = (0..300).map(|n| format!("pair {n}")).collect();
        let before: Vec<u16> = keys.iter().map(|key| pool.pick(key, now).unwrap()).collect();
        assert!((0..3).all(|node| before.iter().filter(|&&picked| picked == node).count() > 60));
        pool.fail(1, now, &mut random);
        for (key, before) in keys.iter().zip(&before) {
            let after = pool.pick(key, now).unwrap();
            assert_ne!(after, 1);
            assert!(*before == 1 || after == *before);
        }
        pool.fail(0, now, &mut random);
        pool.fail(2, now, &mut random);
        let again = pool.pick("x", now).unwrap_err().unwrap();
        assert!(again > now);
        assert!(pool.pick("x", again).is_ok());
        pool.succeed(1);
        assert_eq!(pool.pick("x", now), Ok(1));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn a_node_that_failed_is_tried_by_one_before_it_is_trusted() {
        let start = Instant::now();
        let mut pool = Pool::new(&hosts(&["a", "b"]));
        let mut random = Random::new(1);
        let keys: Vec<String> = (0..100).map(|n| format!("pair {n}")).collect();
        let own: Vec<&String> = keys.iter().filter(|key| pool.pick(key, start) == Ok(0)).collect();
        pool.fail(0, start, &mut random);
        assert!(keys.iter().all(|key| pool.pick_to_dial(key, start) == Ok(1)), "it rests");
        let rested = start + Duration::from_secs(BACKOFF_SECONDS_MAX);
        assert!(keys.iter().all(|key| pool.pick(key, rested) == Ok(1)), "nothing is trusted to it");
        assert_eq!(pool.pick_to_dial(own[0], rested), Ok(0), "one tries it");
        assert!(keys.iter().all(|key| pool.pick_to_dial(key, rested) == Ok(1)), "and nobody else");
        pool.fail(0, rested, &mut random);
        let again = rested + Duration::from_secs(BACKOFF_SECONDS_MAX);
        assert_eq!(pool.pick_to_dial(own[1], again), Ok(0));
        let unheard = again + Duration::from_secs(CONNECT_SECONDS);
        assert_eq!(pool.pick_to_dial(own[2], unheard), Ok(0), "an attempt nothing was heard of is forgotten");
        pool.succeed(0);
        assert!(own.iter().all(|key| pool.pick(key, unheard) == Ok(0)), "its own keys are back");
        pool.fail(0, unheard, &mut random);
        pool.fail(1, unheard, &mut random);
        let late = unheard + Duration::from_secs(BACKOFF_SECONDS_MAX);
        assert!(
            own.iter().all(|key| pool.pick_to_dial(key, late) == Ok(0)),
            "where nobody is healthy all are tried"
        );
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let mut random = Random::new(7);
        for failures in 1..100 {
            let wait = backoff(failures, &mut random);
            assert!(wait <= Duration::from_secs(BACKOFF_SECONDS_MAX));
            assert!(wait >= Duration::from_millis(125));
        }
        assert!(backoff(1, &mut random) <= Duration::from_millis(501));
    }
}
