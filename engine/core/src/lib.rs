//! Placeholder.

pub mod home;
pub mod jid;
pub mod policy;
