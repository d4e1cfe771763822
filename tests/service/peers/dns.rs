//! A name server with a few records, over UDP (RFC 1035 §4): enough to show what a resolver makes of them.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

/// Types of records.
const A: u16 = 1;
const SRV: u16 = 33;

/// What it answers. Names that are not listed do not exist.
#[derive(Clone, Default)]
pub struct Zone {
    records: HashMap<(String, u16), Vec<Vec<u8>>>,
    refuses: bool,
}

impl Zone {
    /// Answers everything with REFUSED.
    pub fn refusing() -> Self {
        Self { refuses: true, ..Self::default() }
    }

    pub fn host(mut self, name: &str, address: Ipv4Addr) -> Self {
        self.records.entry((name.to_owned(), A)).or_default().push(address.octets().to_vec());
        self
    }

    pub fn service(mut self, name: &str, priority: u16, target: &str, port: u16) -> Self {
        let mut data: Vec<u8> = [priority, 0, port].into_iter().flat_map(u16::to_be_bytes).collect();
        for label in target.split('.').filter(|label| !label.is_empty()) {
            data.push(u8::try_from(label.len()).unwrap());
            data.extend_from_slice(label.as_bytes());
        }
        data.push(0);
        self.records.entry((name.to_owned(), SRV)).or_default().push(data);
        self
    }

    /// Answers from now on, on a port of its own.
    pub fn serve(self) -> SocketAddr {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((count, from)) = socket.recv_from(&mut query) {
                if let Some(answer) = self.answer(&query[..count]) {
                    // Whoever asked may be gone.
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        address
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut name = String::new();
        let mut at = 12;
        while *query.get(at)? != 0 {
            let label = query.get(at + 1..at + 1 + usize::from(query[at]))?;
            name.push_str(&format!("{}.", String::from_utf8_lossy(label).to_lowercase()));
            at += 1 + label.len();
        }
        let (name, end) = (name.trim_end_matches('.').to_owned(), at + 5);
        let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
        let exists = self.records.keys().any(|(known, _)| *known == name);
        let found = self.records.get(&(name, kind)).filter(|_| !self.refuses);
        let code = if self.refuses {
            5
        } else if exists {
            0
        } else {
            3
        };
        let count = u8::try_from(found.map_or(0, Vec::len)).unwrap();
        let mut answer = query.get(..2)?.to_vec();
        // An authoritative answer with recursion available; one question, so many answers.
        answer.extend_from_slice(&[0x84 | (query[2] & 1), 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
        answer.extend_from_slice(query.get(12..end)?);
        for data in found.into_iter().flatten() {
            // The name of the question, the type, class IN, a minute.
            answer.extend_from_slice(&[0xC0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend_from_slice(data);
        }
        Some(answer)
    }
}
