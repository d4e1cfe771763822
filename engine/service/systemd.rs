//! What the service manager is told, where there is one that wants to know (`NOTIFY_SOCKET`). Invariant: the watchdog is fed only when
//! every shard has moved since it was fed last; one shard that stands still is enough for the process to be ended and started anew.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::router::Router;

/// How often the shards are looked at within the time the service manager waits.
const LOOKS: u32 = 4;

/// The router is up: sockets, certificates, users. Also after a reload.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it, whatever came of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("the service manager cannot be told of the reload: {error}"),
    }
}

/// The router stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on.
pub fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}

/// Feeds the watchdog as long as the router runs and every shard moves, if there is a watchdog.
pub fn watch(router: &Router) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let router = router.clone();
    tokio::spawn(async move {
        let mut stopped = router.stopped();
        let mut moved = Moved::default();
        let look = (patience / LOOKS).max(Duration::from_millis(1));
        loop {
            if moved.all(router.published().iter().map(|shard| shard.tally.turns)) {
                tell(&[NotifyState::Watchdog]);
            }
            tokio::select! {
                () = tokio::time::sleep(look) => (),
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    });
}

/// Which shards have moved since all of them had.
#[derive(Debug, Default)]
struct Moved {
    /// Each with its count of turns, and whether that has changed.
    shards: Vec<(u64, bool)>,
}

impl Moved {
    /// Takes note of the shards' turns. True when each has moved since this was true last; then it begins anew.
    fn all(&mut self, turns: impl Iterator<Item = u64>) -> bool {
        for (index, turns) in turns.enumerate() {
            match self.shards.get_mut(index) {
                Some((seen, moved)) => {
                    *moved |= *seen != turns;
                    *seen = turns;
                }
                None => self.shards.push((turns, turns > 0)),
            }
        }
        let all = !self.shards.is_empty() && self.shards.iter().all(|(_, moved)| *moved);
        if all {
            self.shards.iter_mut().for_each(|(_, moved)| *moved = false);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_that_stands_still_starves_the_watchdog() {
        let mut moved = Moved::default();
        let check = |moved: &mut Moved, turns: [u64; 3], expected: bool| {
            assert_eq!(moved.all(turns.into_iter()), expected, "{turns:?}");
        };
        check(&mut moved, [0, 5, 9], false);
        check(&mut moved, [1, 5, 9], true);
        check(&mut moved, [2, 6, 9], false);
        check(&mut moved, [3, 7, 9], false);
        check(&mut moved, [3, 7, 10], true);
        check(&mut moved, [3, 7, 10], false);
        for turn in 0..100 {
            check(&mut moved, [4 + turn, 8 + turn, 10], false);
        }
        assert!(!Moved::default().all(std::iter::empty()), "no shards, no life");
    }
}
