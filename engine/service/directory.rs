//! Where the directory's snapshots come from, and where they go.

mod address;
pub mod csv;
pub mod graveyard;
pub mod last_good;
pub mod ldap;
pub mod meter;
pub mod report;
mod roll;
pub mod source;
pub mod standing;
mod words;
