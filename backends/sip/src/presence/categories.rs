//! Microsoft's categories to presence.

use turnout_core::presence::PresenceRules;

use super::pidf::{Document, Flaw};

/// Reads categories.
pub(super) fn read(_body: &[u8], _rules: &PresenceRules) -> Result<Document, Flaw> {
    Err(Flaw::Unsupported)
}
