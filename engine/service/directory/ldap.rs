//! Users from Active Directory, or another directory with the attributes of Skype for Business (`msRTCSIP-*`).
//!
//! [`sync`] keeps [`people`] up with the directory through [`session`]s, which speak LDAP ([`message`], [`filter`], [`ber`]). Invariant:
//! what a server sends is read within bounds or refused, and whatever goes wrong, the users stay as they were. Everything here blocks:
//! a thread of its own runs it. Referrals are not followed. Why there is no library under this: docs/decisions/0031.

mod ber;
mod fault;
pub mod filter;
mod message;
pub mod people;
pub mod person;
mod pools;
mod search;
mod session;
pub mod sync;
#[cfg(test)]
mod tests;

pub use fault::Fault;
