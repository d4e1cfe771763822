//! A 2019 pool as far as presence goes: it watches partners' users for its own, and lets itself be watched (RFC 6665, RFC 3856).

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use super::people::Person;

/// Requested and granted life of subscriptions, in seconds.
const EXPIRES: u64 = 3600;

/// A subscription of a watcher to one of ours.
#[derive(Debug)]
struct Watcher {
    wire: usize,
    local: String,
    friend: String,
    /// Our From and their To of requests to them.
    ours: String,
    theirs: String,
    target: String,
    cseq: u32,
    active: bool,
    expires_at: u64,
}

/// A subscription of one of ours.
#[derive(Debug)]
struct Watch {
    wire: usize,
    local: String,
    friend: String,
    from: String,
    to: String,
    target: String,
    cseq: u32,
    refresh_at: u64,
    /// A SUBSCRIBE waits for its answer.
    asked: bool,
}

/// The pool.
#[derive(Debug, Default)]
pub struct Pool {
    watchers: BTreeMap<String, Watcher>,
    watches: BTreeMap<String, Watch>,
    /// What is to be written, by wire.
    pub out: VecDeque<(usize, String)>,
    count: u64,
    /// It asks for a contact again no sooner than this.
    again: BTreeMap<(String, String), u64>,
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

fn address(value: &str) -> String {
    let uri = value.split_once('<').map_or(value, |(_, rest)| rest.split('>').next().unwrap_or_default());
    uri.trim_start_matches("sip:").split([';', '?']).next().unwrap_or_default().to_owned()
}

fn uri(value: &str) -> String {
    value.split_once('<').map_or(value, |(_, rest)| rest.split('>').next().unwrap_or_default()).to_owned()
}

fn answer(request: &str, status: &str, tag: Option<&str>, extra: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let value = header(request, name);
        let tag = tag.filter(|_| name == "To" && !value.contains(";tag="));
        let tag = tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        writeln!(text, "{name}: {value}{tag}\r").unwrap();
    }
    text + extra + "Content-Length: 0\r\n\r\n"
}

/// The document of a user as such a pool writes it.
fn pidf(local: &str, person: &Person) -> String {
    let basic = if person.online.is_some() { "open" } else { "closed" };
    let activity = match person.online.as_deref() {
        Some("away") => "<ep:activities><ep:activity>away</ep:activity></ep:activities>",
        Some("dnd") => "<ep:activities><ep:activity>busy</ep:activity></ep:activities>",
        _ => "",
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:ep=\"urn:ietf:params:xml:ns:pidf:status:rpid-status\" entity=\"sip:{local}\"><tuple id=\"0\">\
         <status><basic>{basic}</basic>{activity}</status></tuple></presence>"
    )
}

impl Pool {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// A message from the router.
    pub fn hears(
        &mut self,
        now: u64,
        wire: usize,
        text: &str,
        people: &mut BTreeMap<String, Person>,
        lives_here: impl Fn(&str) -> bool,
    ) {
        match text.split(' ').next().unwrap_or_default() {
            "SIP/2.0" => self.answered(now, text, people),
            "SUBSCRIBE" if header(text, "To").contains(";tag=") => self.refreshed(now, wire, text, people),
            "SUBSCRIBE" => self.subscribed(now, wire, text, people, lives_here),
            "NOTIFY" => self.notified(now, wire, text, people),
            _ => self.out.push_back((wire, answer(text, "200 OK", Some("x"), ""))),
        }
    }

    fn subscribed(
        &mut self,
        now: u64,
        wire: usize,
        text: &str,
        people: &mut BTreeMap<String, Person>,
        lives_here: impl Fn(&str) -> bool,
    ) {
        let (local, friend) = (address(header(text, "To")), address(header(text, "From")));
        if !lives_here(&local) {
            let extra = "ms-diagnostics: 4006;reason=\"not in this pool\"\r\n";
            return self.out.push_back((wire, answer(text, "404 Not Found", Some("n"), extra)));
        }
        let Some(person) = people.get_mut(&local) else {
            return self.out.push_back((wire, answer(text, "404 Not Found", Some("n"), "")));
        };
        let allowed = person.watchers.get(&friend).copied();
        let expires: u64 = header(text, "Expires").parse().unwrap_or(EXPIRES);
        if allowed == Some(false) {
            return self.out.push_back((wire, answer(text, "603 Decline", Some("d"), "")));
        }
        let tag = format!("p{}", self.next());
        let granted = expires.min(EXPIRES);
        let extra = format!("Expires: {granted}\r\nContact: <sip:pool0.contoso.com:5061;transport=tls>\r\n");
        let ok = answer(text, "200 OK", Some(&tag), &extra);
        self.out.push_back((wire, ok.clone()));
        if allowed.is_none() && expires > 0 {
            person.prompts.insert(friend.clone());
        }
        let watcher = Watcher {
            wire,
            local,
            friend,
            ours: header(&ok, "To").to_owned(),
            theirs: header(text, "From").to_owned(),
            target: uri(header(text, "Contact")),
            cseq: 0,
            active: allowed == Some(true),
            expires_at: now + granted,
        };
        let call_id = header(text, "Call-ID").to_owned();
        self.watchers.insert(call_id.clone(), watcher);
        self.notify(now, &call_id, people, (expires == 0).then_some("timeout"));
    }

    fn refreshed(&mut self, now: u64, wire: usize, text: &str, people: &mut BTreeMap<String, Person>) {
        let call_id = header(text, "Call-ID").to_owned();
        let Some(watcher) = self.watchers.get_mut(&call_id) else {
            return self.out.push_back((wire, answer(text, "481 Subscription does not exist", None, "")));
        };
        let expires: u64 = header(text, "Expires").parse().unwrap_or(EXPIRES);
        let granted = expires.min(EXPIRES);
        (watcher.wire, watcher.expires_at) = (wire, now + granted);
        let extra = format!("Expires: {granted}\r\nContact: <sip:pool0.contoso.com:5061;transport=tls>\r\n");
        self.out.push_back((wire, answer(text, "200 OK", None, &extra)));
        self.notify(now, &call_id, people, (expires == 0).then_some("timeout"));
    }

    fn notify(
        &mut self,
        now: u64,
        call_id: &str,
        people: &BTreeMap<String, Person>,
        terminated: Option<&str>,
    ) {
        let branch = self.next();
        let Some(watcher) = self.watchers.get_mut(call_id) else { return };
        watcher.cseq += 1;
        let state = match (terminated, watcher.active) {
            (Some(reason), _) => format!("terminated;reason={reason}"),
            (None, true) => format!("active;expires={}", watcher.expires_at.saturating_sub(now)),
            (None, false) => format!("pending;expires={}", watcher.expires_at.saturating_sub(now)),
        };
        let body = match people.get(&watcher.local) {
            Some(person) if watcher.active => pidf(&watcher.local, person),
            _ => String::new(),
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/pidf+xml\r\n" };
        let text = format!(
            "NOTIFY {} SIP/2.0\r\nVia: SIP/2.0/TLS pool0.contoso.com:5061;branch=z9hG4bKp{branch}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {call_id}\r\nCSeq: {} NOTIFY\r\n\
             Contact: <sip:pool0.contoso.com:5061;transport=tls>\r\nEvent: presence\r\n\
             Subscription-State: {state}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            watcher.target,
            watcher.ours,
            watcher.theirs,
            watcher.cseq,
            body.len()
        );
        self.out.push_back((watcher.wire, text));
        if terminated.is_some() {
            self.watchers.remove(call_id);
        }
    }

    /// A local user answers a request, here.
    pub fn answers(
        &mut self,
        now: u64,
        local: &str,
        friend: &str,
        yes: bool,
        people: &mut BTreeMap<String, Person>,
    ) {
        if let Some(person) = people.get_mut(local) {
            person.prompts.remove(friend);
            person.watchers.insert(friend.to_owned(), yes);
        }
        for call_id in self.of(|watcher| watcher.local == local && watcher.friend == friend) {
            if let Some(watcher) = self.watchers.get_mut(&call_id) {
                watcher.active = yes;
            }
            self.notify(now, &call_id, people, (!yes).then_some("rejected"));
        }
    }

    fn of(&self, is_meant: impl Fn(&Watcher) -> bool) -> Vec<String> {
        self.watchers.iter().filter(|(_, w)| is_meant(w)).map(|(call_id, _)| call_id.clone()).collect()
    }

    /// A local user has changed.
    pub fn shows(&mut self, now: u64, local: &str, people: &BTreeMap<String, Person>) {
        for call_id in self.of(|watcher| watcher.local == local && watcher.active) {
            self.notify(now, &call_id, people, None);
        }
    }

    /// A local user has left, or the pool has started anew: its dialogs are gone without a word.
    pub fn forgets(&mut self, is_meant: impl Fn(&str) -> bool) {
        self.watchers.retain(|_, watcher| !is_meant(&watcher.local));
        self.watches.retain(|_, watch| !is_meant(&watch.local));
        self.again.retain(|(local, _), _| !is_meant(local));
    }

    fn notified(&mut self, now: u64, wire: usize, text: &str, people: &mut BTreeMap<String, Person>) {
        let call_id = header(text, "Call-ID").to_owned();
        let Some(watch) = self.watches.get_mut(&call_id) else {
            return self.out.push_back((wire, answer(text, "481 Subscription does not exist", None, "")));
        };
        self.out.push_back((wire, answer(text, "200 OK", None, "")));
        watch.wire = wire;
        let (local, friend) = (watch.local.clone(), watch.friend.clone());
        let Some(person) = people.get_mut(&local) else { return };
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let state = header(text, "Subscription-State");
        if body.contains("<basic>open</basic>") {
            let show = ["dnd", "xa", "away"].into_iter().find(|show| body.contains(&format!(">{show}</")));
            person.seen.insert(friend.clone(), [(String::new(), show.unwrap_or_default().to_owned())].into());
        } else {
            person.seen.remove(&friend);
        }
        if state.starts_with("terminated") {
            self.watches.remove(&call_id);
            if state.contains("rejected") {
                person.refused_by.insert(friend.clone());
            }
            self.again.insert((local, friend), now + 5);
        }
    }

    fn answered(&mut self, now: u64, text: &str, people: &mut BTreeMap<String, Person>) {
        let call_id = header(text, "Call-ID").to_owned();
        let status: u16 = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(500);
        if header(text, "CSeq").ends_with("NOTIFY") {
            if status >= 300 {
                self.watchers.remove(&call_id);
            }
            return;
        }
        let Some(watch) = self.watches.get_mut(&call_id) else { return };
        watch.asked = false;
        if status >= 300 {
            let pair = (watch.local.clone(), watch.friend.clone());
            if let Some(person) = people.get_mut(&pair.0) {
                person.seen.remove(&pair.1);
            }
            self.watches.remove(&call_id);
            self.again.insert(pair, now + 5);
            return;
        }
        watch.to = header(text, "To").to_owned();
        watch.target = uri(header(text, "Contact"));
        let expires: u64 = header(text, "Expires").parse().unwrap_or(EXPIRES);
        watch.refresh_at = now + expires / 2;
    }

    /// Subscribes to what users here want to see, refreshes, and lets go of what they do not.
    pub fn wakes(
        &mut self,
        now: u64,
        wire: usize,
        people: &BTreeMap<String, Person>,
        lives_here: impl Fn(&str) -> bool,
    ) {
        let mut wanted: Vec<(String, String)> = Vec::new();
        for (local, person) in people.iter().filter(|(local, _)| lives_here(local)) {
            let contacts = person.contacts.iter().filter(|friend| !person.refused_by.contains(*friend));
            wanted.extend(contacts.map(|friend| (local.clone(), friend.clone())));
        }
        let open: Vec<(String, String)> =
            self.watches.values().map(|w| (w.local.clone(), w.friend.clone())).collect();
        for pair in wanted.iter().filter(|pair| !open.contains(pair)) {
            if self.again.get(pair).is_none_or(|at| *at <= now) {
                self.again.remove(pair);
                self.subscribe(now, wire, &pair.0, &pair.1);
            }
        }
        let call_ids: Vec<String> = self.watches.keys().cloned().collect();
        for call_id in call_ids {
            let watch = &self.watches[&call_id];
            if watch.asked || watch.target.is_empty() {
                continue;
            }
            let unwanted = !wanted.contains(&(watch.local.clone(), watch.friend.clone()));
            if unwanted {
                self.renew(now, wire, &call_id, 0);
                self.watches.remove(&call_id);
            } else if watch.refresh_at <= now {
                self.renew(now, wire, &call_id, EXPIRES);
            }
        }
        let late = self.of(|watcher| watcher.expires_at < now);
        for call_id in late {
            self.notify(now, &call_id, people, Some("timeout"));
        }
    }

    fn subscribe(&mut self, now: u64, wire: usize, local: &str, friend: &str) {
        let n = self.next();
        let call_id = format!("call{n}");
        let watch = Watch {
            wire,
            local: local.to_owned(),
            friend: friend.to_owned(),
            from: format!("<sip:{local}>;tag=w{n}"),
            to: format!("<sip:{friend}>"),
            target: format!("sip:{friend}"),
            cseq: 0,
            refresh_at: now + 60,
            asked: false,
        };
        self.watches.insert(call_id.clone(), watch);
        self.renew(now, wire, &call_id, EXPIRES);
    }

    fn renew(&mut self, now: u64, wire: usize, call_id: &str, expires: u64) {
        let branch = self.next();
        let Some(watch) = self.watches.get_mut(call_id) else { return };
        watch.cseq += 1;
        (watch.asked, watch.wire, watch.refresh_at) = (true, wire, now + 60);
        let text = format!(
            "SUBSCRIBE {} SIP/2.0\r\nVia: SIP/2.0/TLS pool0.contoso.com:5061;branch=z9hG4bKs{branch}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {call_id}\r\nCSeq: {} SUBSCRIBE\r\n\
             Contact: <sip:{};opaque=user:epid:x;gruu>\r\nEvent: presence\r\n\
             Accept: application/msrtc-event-categories+xml, text/xml+msrtc.pidf, application/pidf+xml\r\n\
             Expires: {expires}\r\nContent-Length: 0\r\n\r\n",
            watch.target, watch.from, watch.to, watch.cseq, watch.local
        );
        self.out.push_back((wire, text));
    }

    /// A wire is gone: what was asked on it is asked again.
    pub fn loses(&mut self, now: u64, wire: usize) {
        self.out.retain(|(on, _)| *on != wire);
        for watch in self.watches.values_mut().filter(|watch| watch.wire == wire && watch.asked) {
            (watch.asked, watch.refresh_at) = (false, now);
        }
        // One that never was answered has no dialog.
        self.watches.retain(|_, watch| watch.to.contains(";tag=") || watch.wire != wire);
    }
}
