//! The shards' threads and what stands in each. Invariant: here alone a backend is named; either all threads run, or the caller is
//! told which could not and why.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::Receiver;
use turnout_core::backend::Backend;
use turnout_core::directory::Directory;
use turnout_core::home::{BackendKind, HomeId};
use turnout_core::io::{NewBackends, Outbox, Side};
use turnout_core::shard::Shard;
use turnout_core::world::World;
use turnout_sip::SipBackend;
use turnout_xmpp::XmppBackend;

use super::LastWords;
use crate::clock::SystemClock;
use crate::driver::Kind;
use crate::mail::{Mail, Post};
use crate::outside::Outside;
use crate::turn;

/// 32 bytes from the operating system.
pub(crate) fn random_bytes() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(bytes)
}

/// Makes the backend of one home for one shard.
pub type MakeBackend =
    dyn Fn(BackendKind, HomeId, &Arc<World>) -> Result<Box<dyn Backend>, String> + Send + Sync;

/// The backends of one shard: the partners' first, then one per home.
pub(crate) fn backends(world: &Arc<World>, make: &MakeBackend) -> Result<Vec<Box<dyn Backend>>, String> {
    let mut backends: Vec<Box<dyn Backend>> =
        vec![Box::new(XmppBackend::new(Side::Partners, Arc::clone(world), random_bytes()?))];
    for (id, home) in world.homes.all() {
        backends.push(make(home.backend, id, world)?);
    }
    Ok(backends)
}

pub(crate) fn standard_backend(
    kind: BackendKind,
    id: HomeId,
    world: &Arc<World>,
) -> Result<Box<dyn Backend>, String> {
    let (side, world) = (Side::Home(id), Arc::clone(world));
    Ok(match kind {
        BackendKind::Xmpp => Box::new(XmppBackend::new(side, world, random_bytes()?)),
        BackendKind::Sip => Box::new(SipBackend::new(side, world, random_bytes()?)),
    })
}

/// For each shard the backends of the homes from this number on.
pub(super) fn more_backends(world: &Arc<World>, known: usize) -> Result<Vec<NewBackends>, String> {
    let one = |_| {
        let fresh = world.homes.all().skip(known);
        let made =
            fresh.map(|(id, home)| standard_backend(home.backend, id, world)).collect::<Result<_, _>>();
        Ok(NewBackends(made?))
    };
    (0..world.shards).map(one).collect()
}

pub(super) fn spawn_shards(
    driver: Kind,
    world: &Arc<World>,
    directory: &Directory,
    post: &Post,
    outside: &Arc<Outside>,
    boxes: Vec<Receiver<Mail>>,
    make: &MakeBackend,
) -> Result<Vec<JoinHandle<()>>, String> {
    let mut threads = Vec::with_capacity(boxes.len());
    for (index, mail) in (0_u16..).zip(boxes) {
        let (world, directory) = (Arc::clone(world), directory.clone());
        let (post, outside) = (post.clone(), Arc::clone(outside));
        let seed = u64::from_le_bytes(random_bytes()?[..8].try_into().unwrap_or_default());
        let backends = backends(&world, make)?;
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(format!("shard {index}")).spawn(move || {
            let _last = LastWords("a shard's thread");
            let mut driver = match driver.open(index, mail, post, outside) {
                Ok(driver) => driver,
                Err(error) => return drop(ready.send(Err(error))),
            };
            drop(ready.send(Ok(())));
            let mut shard = Shard::new(index, world, directory, backends, seed);
            let mut out = Outbox::new(index);
            turn::run(&mut shard, &mut out, &mut *driver, &SystemClock);
        });
        threads.push(thread.map_err(|error| format!("shard {index}: no thread: {error}"))?);
        match started.recv() {
            Ok(Ok(())) => (),
            Ok(Err(error)) => {
                return Err(format!("shard {index}: {error}"));
            }
            Err(_) => return Err(format!("shard {index}: its thread ended at once")),
        }
    }
    Ok(threads)
}
