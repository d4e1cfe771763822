//! The connections of one ring. Invariant: a slot that is used again has another generation, so a completion that comes late finds
//! nobody; a connection leaves its slot only when none of its operations is under way.

use hashbrown::HashMap;
use turnout_core::io::LinkId;

use super::connection::Connection;
use super::ring::{Operation, Token};

/// A place of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    slot: u32,
    generation: u32,
}

impl Place {
    /// The name of one of its operations.
    pub(super) fn token(self, operation: Operation) -> Token {
        Token { operation, slot: self.slot, generation: self.generation }
    }

    /// The index of its slot.
    pub(super) fn slot(self) -> u32 {
        self.slot
    }
}

impl From<Token> for Place {
    fn from(token: Token) -> Self {
        Self { slot: token.slot, generation: token.generation }
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// All connections of one ring.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    links: HashMap<LinkId, Place>,
    /// What was asked for last: outputs come in runs.
    last: Option<(LinkId, Place)>,
}

impl Table {
    /// A place for a connection; it comes back when there is none.
    pub(super) fn insert(&mut self, connection: Connection) -> Result<Place, Box<Connection>> {
        let connection = Box::new(connection);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < Token::SLOTS_MAX => {
                self.slots.push(Slot::default());
                self.slots.len() as u32 - 1
            }
            None => return Err(connection),
        };
        let place = &mut self.slots[slot as usize];
        let found = Place { slot, generation: place.generation };
        self.links.insert(connection.link(), found);
        place.connection = Some(connection);
        Ok(found)
    }

    /// Who is there, unless somebody else is there by now.
    pub(super) fn get(&mut self, place: Place) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(place.slot as usize)?;
        if slot.generation == place.generation { slot.connection.as_deref_mut() } else { None }
    }

    /// Where a link is.
    pub(super) fn find(&mut self, link: LinkId) -> Option<Place> {
        if let Some((last, place)) = self.last
            && last == link
        {
            return Some(place);
        }
        let place = self.links.get(&link).copied()?;
        self.last = Some((link, place));
        Some(place)
    }

    /// Takes a connection out for good.
    pub(super) fn remove(&mut self, place: Place) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(place.slot as usize)?;
        if slot.generation != place.generation {
            return None;
        }
        let connection = slot.connection.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(place.slot);
        self.last = None;
        self.links.remove(&connection.link());
        Some(connection)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }
}
