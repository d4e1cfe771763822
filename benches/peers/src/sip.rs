//! stub
use crate::Outcome; use crate::ledger::{Ledger,Shared}; use crate::wire::Wire;
use std::sync::Arc; use rustls::ServerConfig;
/// stub
#[derive(Clone, Debug)] pub struct Pool { pub tls: Option<Arc<ServerConfig>> }
impl Pool { 
/// stub
pub fn take(&mut self, _b:&[u8], _w:&mut Wire,_n:u64,_l:&mut Ledger,_s:&Shared)->Outcome<usize>{Err("stub".into())} }
