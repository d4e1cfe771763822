//! Where the directory's snapshots come from.

pub mod csv;
