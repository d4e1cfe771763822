//! PIDF to presence.

use turnout_core::presence::PresenceRules;

use super::{Document, Flaw};

/// Reads PIDF.
pub(super) fn read(_body: &[u8], _rules: &PresenceRules) -> Result<Document, Flaw> {
    Err(Flaw::Unsupported)
}
