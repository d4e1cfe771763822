//! Placeholder.

pub mod directory;
pub mod home;
pub mod jid;
pub mod policy;
