//! The service.

pub mod admin;
pub mod clock;
pub mod commands;
pub mod directory;
pub mod look;
pub mod metrics;
