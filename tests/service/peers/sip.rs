//! A scripted 2019 pool: takes sessions over mutual TLS, answers by a rule, and can open connections of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use turnout::clock::now;

use super::inbox::{Inbox, PATIENCE};
use super::wire::{End, Wire};

/// One message, cut at its Content-Length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Message {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or_else(|| panic!("no {name} in {self:?}"), |(_, value)| value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The status code of a response.
    pub fn status(&self) -> u16 {
        let code = self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.split(' ').next());
        code.unwrap_or_else(|| panic!("no response: {}", self.start)).parse().unwrap()
    }
}

/// The answer of an endpoint to a request.
pub fn answer(request: &Message, status: &str, more: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for (name, value) in &request.headers {
        if ["via", "from", "to", "call-id", "cseq", "record-route"].contains(&name.to_lowercase().as_str()) {
            let tag =
                if name.eq_ignore_ascii_case("to") && !value.contains(";tag=") { ";tag=pool7" } else { "" };
            text.push_str(&format!("{name}: {value}{tag}\r\n"));
        }
    }
    format!("{text}{more}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An answer of Skype for Business' kind to an offer of IM.
pub const SDP: &str = "v=0\r\no=- 0 0 IN IP4 10.0.1.9\r\ns=session\r\nc=IN IP4 10.0.1.9\r\nt=0 0\r\n\
    m=message 5060 sip null\r\na=accept-types:text/plain multipart/alternative text/html\r\n";

impl Wire {
    /// The next SIP message.
    pub fn message(&mut self) -> Message {
        let deadline = now() + PATIENCE;
        loop {
            if let Some(message) = self.poll_message() {
                return message;
            }
            assert!(self.end.is_none(), "the connection ended: {:?}", self.end);
            assert!(now() < deadline, "no message comes; unread: {:?}", self.text());
            self.pump(Duration::from_secs(1));
        }
    }

    /// The next response that is final.
    pub fn final_response(&mut self) -> Message {
        loop {
            let message = self.message();
            if message.status() >= 200 {
                return message;
            }
        }
    }

    /// The next SIP message, if it is whole.
    pub fn poll_message(&mut self) -> Option<Message> {
        let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.buffer.drain(..blank);
        let head = self.buffer.windows(4).position(|part| part == b"\r\n\r\n")?;
        let text = std::str::from_utf8(&self.buffer[..head]).unwrap();
        let mut lines = text.split("\r\n");
        let start = lines.next()?.to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
        if self.buffer.len() < head + 4 + length {
            return None;
        }
        let body = String::from_utf8(self.buffer[head + 4..head + 4 + length].to_vec()).unwrap();
        self.buffer.drain(..head + 4 + length);
        Some(Message { start, headers, body })
    }
}

/// The pool.
pub struct Pool {
    pub address: SocketAddr,
    /// Requests in the order they came.
    pub requests: Inbox<Message>,
    /// How handshakes and connections ended.
    pub ends: Inbox<String>,
    /// What MESSAGE is answered, when not 200.
    pub status: Arc<Mutex<Option<&'static str>>>,
    stopped: Arc<AtomicBool>,
}

impl Pool {
    pub fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let pool = Self {
            address: listener.local_addr().unwrap(),
            requests: Inbox::default(),
            ends: Inbox::default(),
            status: Arc::default(),
            stopped: Arc::default(),
        };
        let (requests, ends, status) = (pool.requests.clone(), pool.ends.clone(), Arc::clone(&pool.status));
        let stopped = Arc::clone(&pool.stopped);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (requests, ends, status) = (requests.clone(), ends.clone(), Arc::clone(&status));
                let (mut wire, config) = (Wire::new(socket), Arc::clone(&config));
                std::thread::spawn(move || match wire.secure_as_server(config) {
                    Ok(()) => serve(wire, &requests, &ends, &status),
                    Err(why) => ends.push(format!("handshake: {why}")),
                });
            }
        });
        pool
    }

    /// The texts of all MESSAGE requests so far.
    pub fn texts(&self) -> Vec<String> {
        let texts = |message: &Message| (message.method() == "MESSAGE").then(|| message.body.clone());
        self.requests.all().iter().filter_map(texts).collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    mut wire: Wire,
    requests: &Inbox<Message>,
    ends: &Inbox<String>,
    status: &Mutex<Option<&'static str>>,
) {
    loop {
        let Some(message) = wire.poll_message() else {
            if let Some(end) = &wire.end {
                return ends.push(if *end == End::Notified { "notified" } else { "ended" }.to_owned());
            }
            wire.pump(PATIENCE);
            continue;
        };
        if message.start.starts_with("SIP/2.0") {
            continue;
        }
        let user = message.start.split(' ').nth(1).unwrap_or_default();
        let reply = match message.method() {
            "ACK" => None,
            "INVITE" => {
                let more = format!(
                    "Contact: <{user};opaque=user:epid:hYns;gruu>\r\nContent-Type: application/sdp\r\n"
                );
                Some(answer(&message, "200 OK", &more, SDP))
            }
            "MESSAGE" => Some(answer(&message, status.lock().unwrap().unwrap_or("200 OK"), "", "")),
            _ => Some(answer(&message, "200 OK", "", "")),
        };
        requests.push(message);
        if let Some(reply) = reply {
            wire.send(reply);
        }
    }
}

/// A connection of the pool's to the router.
pub fn dial(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Wire {
    let mut wire = Wire::dial(address);
    wire.secure_as_client(config, name).unwrap();
    wire
}

/// Branches and Call-IDs, never twice.
static REQUESTS: AtomicU64 = AtomicU64::new(1);

/// A MESSAGE outside of a session.
pub fn page(from: &str, to: &str, text: &str) -> String {
    let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
    format!(
        "MESSAGE sip:{to} SIP/2.0\r\nVia: SIP/2.0/TLS pool2019.contoso.com:5061;branch=z9hG4bKp{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{from}>;tag=f{number};epid=b84a59c035\r\nTo: <sip:{to}>\r\n\
         Call-ID: page{number}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain; charset=UTF-8\r\n\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// The INVITE of a Skype for Business client.
pub fn invite(from: &str, to: &str) -> String {
    let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
    format!(
        "INVITE sip:{to} SIP/2.0\r\n\
         Record-Route: <sip:fe1.contoso.com:5061;transport=tls;opaque=state:T:F:Ci.R3f0c00;lr;ms-route-sig=fZ+/=>;tag=12AB\r\n\
         Via: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bKi{number};branched=FALSE;ms-internal-info=\"cd,x\"\r\n\
         Via: SIP/2.0/TLS 10.0.1.9:37737;ms-received-port=37737;ms-received-cid=3E8A00\r\n\
         Max-Forwards: 69\r\nFrom: \"Carla\"<sip:{from}>;tag=i{number};epid=b84a59c035\r\nTo: <sip:{to}>\r\n\
         Call-ID: call{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:{from};opaque=user:epid:hYnsAA;gruu>\r\n\
         User-Agent: UCCAPI/16.0.4417.1000 OC/16.0.4417.1000 (Skype for Business)\r\n\
         Supported: ms-dialog-route-set-update\r\nSupported: timer\r\nRoster-Manager: sip:{from}\r\n\
         Ms-Conversation-ID: AdKjt1Xy9lDJ8KRjRYaBRsRaq4N/vw==\r\n\
         Allow: INVITE, BYE, ACK, CANCEL, INFO, MESSAGE, UPDATE, REFER, NOTIFY, BENOTIFY\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

/// A request within the session that this 200 made.
pub fn within(ok: &Message, method: &str, number: u32, to: &str, text: &str) -> String {
    let branch = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let target = ok.header("Contact").trim_start_matches('<').split('>').next().unwrap_or(to);
    let kind = if text.is_empty() { "" } else { "Content-Type: text/plain; charset=UTF-8\r\n" };
    format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bKw{branch}\r\nMax-Forwards: 69\r\n\
         From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n{kind}Content-Length: {}\r\n\r\n{text}",
        ok.header("From"),
        ok.header("To"),
        ok.header("Call-ID"),
        text.len()
    )
}
