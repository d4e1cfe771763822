//! The admin API over a real loopback socket, with a task in the router's place.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::*;
use crate::look::example;

mod operating;
mod trials;

/// What the router was told to do.
type Told = Arc<Mutex<Vec<String>>>;

/// A running admin listener; it stops with the sender.
struct Rig {
    address: SocketAddr,
    told: Told,
    feed: Feed,
    /// Sent with every request.
    token: Option<String>,
    _stop: watch::Sender<bool>,
}

async fn rig(change: impl Fn(&mut Look) + Send + 'static) -> Rig {
    rig_with(Access::default(), change).await
}

async fn rig_with(access: Access, change: impl Fn(&mut Look) + Send + 'static) -> Rig {
    rig_of(access, None, change).await
}

async fn rig_of(
    access: Access,
    words: Option<redact::Key>,
    change: impl Fn(&mut Look) + Send + 'static,
) -> Rig {
    let (desk, asked) = desk();
    let told = Told::default();
    tokio::spawn(router(asked, change, Arc::clone(&told)));
    let (address, stop, feed) = listening(desk, access, words).await;
    Rig { address, told, feed, token: None, _stop: stop }
}

async fn listening(
    desk: Desk,
    access: Access,
    words: Option<redact::Key>,
) -> (SocketAddr, watch::Sender<bool>, Feed) {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let (access, feed) = (Arc::new(ArcSwap::from_pointee(access)), Feed::default());
    let listening = Listening { listener, desk, access, feed: feed.clone(), tls: None, words };
    tokio::spawn(serve(listening, stopped));
    (address, stop, feed)
}

async fn router(mut asked: Receiver<Ask>, change: impl Fn(&mut Look), told: Told) {
    let moved = |users| MovedAnswer { users, in_time: true, held_millis: 3, remembered: true };
    let mut under_way = Vec::new();
    while let Some(ask) = asked.recv().await {
        match ask {
            Ask::Look(done) => {
                let mut look = example::look();
                change(&mut look);
                drop(done.send(look));
            }
            Ask::Move(users, home, done) => {
                let names: Vec<&str> = users.iter().map(Jid::as_str).collect();
                told.lock().unwrap().push(format!("{} to {home}", names.join(" ")));
                drop(done.send(Ok(moved(users.len() as u64))));
            }
            Ask::Tell(user, done) => drop(done.send(example::told(user.as_str()))),
            Ask::Forget(pair, what, done) => {
                told.lock().unwrap().push(format!("{pair}: {what:?}"));
                drop(done.send(Ok(example::forgotten(&pair, what))));
            }
            Ask::Preview(done) => drop(done.send(Ok(ReloadDiff { users_moved: 7, ..ReloadDiff::default() }))),
            Ask::Survey(shard, survey, done) => drop(done.send(Ok(example::surveyed(shard, &survey)))),
            Ask::Trace(rules, done) => {
                told.lock().unwrap().push(format!("trace {} {:?}", rules.mode.as_str(), rules.only));
                done.send(()).unwrap();
            }
            Ask::Stop(done) => {
                told.lock().unwrap().push("stop".to_owned());
                done.send(()).unwrap();
            }
            Ask::Try(trial, done) => {
                told.lock().unwrap().push(format!("{trial:?}"));
                drop(done.send(Ok(Tried::Delivered)));
            }
            // It takes its time.
            Ask::Probe { partner, from, done } => {
                told.lock().unwrap().push(format!("probe {partner} from {from}"));
                under_way.push(done);
            }
            Ask::Reload(done) => {
                told.lock().unwrap().push("reload".to_owned());
                drop(done.send(Err("turnout.toml:3: homes cannot change".to_owned())));
            }
        }
    }
}

impl Rig {
    /// Status, header and body of the answer to one request.
    async fn exchange(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let host = self.address;
        let (status, _, body) = self
            .exchange(&format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\n{}Connection: close\r\n\r\n",
                self.token()
            ))
            .await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.change("POST", path, body).await
    }

    async fn change(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{}Connection: close\r\n",
            self.address,
            self.token()
        );
        let length = body.len();
        let (status, _, body) = self
            .exchange(&format!(
                "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        (status, serde_json::from_str(&body).unwrap())
    }

    fn token(&self) -> String {
        self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default()
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn status_shows_the_sums() {
    let rig = rig(|_| ()).await;
    let (code, status) = rig.get("/api/status").await;
    assert_eq!(code, 200);
    assert_eq!(status["stanzas"]["passed"]["received"], 30);
    assert_eq!(status["stanzas"]["passed"]["between_shards"], 0);
    assert_eq!(status["stanzas"]["held"], 5);
    assert_eq!(status["stanzas"]["sums_agree"], true);
    assert_eq!(status["generation"], 7);
    assert_eq!(status["uptime_seconds"], 100);
    assert_eq!(
        status["directory"],
        json!({
            "users": 3, "changed_users": 0, "loaded_unix": 1060, "age_seconds": 40, "source": "csv", "from_disk": false,
            "classes": {"home": 3, "cloud": 0, "unassigned": 0, "branch": 1, "unknown_pool": 0, "moving": 0}
        })
    );
    assert_eq!(status["sides"][1]["delivery_p50_us"], 100);
    assert_eq!(status["sides"][2]["delivery_p50_us"], Value::Null);
    assert_eq!(
        (&status["sides"][2]["watches"], &status["sides"][2]["subscriptions"]),
        (&json!(5), &json!(2))
    );
    assert_eq!((&status["presence_waiting"], &status["wishes_waiting"]), (&json!(1), &json!(6)));
    assert_eq!((&status["contacts"]["both"], &status["contacts"]["vetoed"]), (&json!(7), &json!(1)));
    assert_eq!(status["shards"].as_array().unwrap().len(), 2);
    serde_json::from_value::<answers::Status>(status).unwrap();
}

#[tokio::test]
async fn a_lost_stanza_shows() {
    let rig = rig(|look| {
        // One lost here and one counted twice there do not make up for each other.
        look.shards[0].tally.passed.received += 1;
        look.shards[1].tally.passed.delivered += 1;
    })
    .await;
    let (_, status) = rig.get("/api/status").await;
    assert_eq!(status["stanzas"]["unaccounted"], 2);
    assert_eq!(status["stanzas"]["sums_agree"], false);
}

#[tokio::test]
async fn users_are_listed_in_pages_and_shown() {
    let rig = rig(|_| ()).await;
    let (code, page) = rig.get("/api/users?limit=2").await;
    assert_eq!((code, &page["next_after"]), (200, &json!("bob@contoso.com")));
    assert_eq!(page["users"][0]["user"], "alice@contoso.com");
    let (_, page) = rig.get("/api/users?limit=2&after=bob%40contoso.com").await;
    assert_eq!(page["users"][0]["pool"], "lost.contoso.com");
    assert_eq!(page["users"][0]["residence"], "unknown_pool");
    assert_eq!(page["next_after"], Value::Null);
    let (_, page) = rig.get("/api/users?prefix=BO").await;
    assert_eq!(page["users"].as_array().unwrap().len(), 1);
    let (code, user) = rig.get("/api/users/Alice%40Contoso.com").await;
    assert_eq!((code, &user["home"], &user["changed"]), (200, &json!("legacy"), &json!(false)));
}

#[tokio::test]
async fn partners_homes_and_reasons() {
    let rig = rig(|_| ()).await;
    let (_, partners) = rig.get("/api/partners").await;
    assert_eq!(partners["unlisted"], "refuse");
    assert_eq!(partners["partners"][0]["type"], "federated");
    let (_, homes) = rig.get("/api/homes").await;
    assert_eq!(homes["homes"][0]["nodes"][0]["healthy"], true);
    assert_eq!(homes["homes"][1]["dialect"], "skype");
    let node =
        json!({"node": "pool2019.contoso.com:5061", "healthy": false, "failures": 4, "resting_shards": 2});
    assert_eq!(homes["homes"][1]["nodes"][0], node);
    let (_, why) = rig.get("/api/explain?from=eve@partner.example&to=alice@contoso.com").await;
    assert_eq!((&why["route"], &why["side"]), (&json!("home legacy"), &json!("partners")));
    let (_, why) = rig.get("/api/explain?from=eve@partner.example&to=bob@contoso.com&kind=presence").await;
    assert_eq!(why["refusal"]["condition"], "service-unavailable");
    assert_eq!(why["refusal"]["dropped_by"], "presence_unanswered");
    let (_, why) = rig.get("/api/explain?from=alice@contoso.com&to=eve@partner.example&kind=iq:get").await;
    assert_eq!((&why["route"], &why["side"]), (&json!("partner partner.example"), &json!("legacy")));
    assert!(why["steps"].as_array().unwrap().len() >= 3);
}

#[tokio::test]
async fn a_user_is_shown_in_full() {
    let rig = rig(|_| ()).await;
    let (code, bob) = rig.get("/api/users/bob%40contoso.com").await;
    assert_eq!((code, &bob["home"], &bob["contacts_total"]), (200, &json!("sfb2019"), &json!(5)));
    assert_eq!(
        bob["contacts"][0],
        json!({
            "partner": "eve@partner.example", "subscription": "none", "asked": true, "asking": false,
            "vetoed": true, "introduced": true, "shown": []
        })
    );
    assert_eq!(bob["contacts"][2]["shown"], json!(["a-very-long-resource", ""]));
    assert_eq!(bob["held"], 2);
    assert_eq!(bob["open"], json!({"sfb2019": ["watch for eve@partner.example, active, ends in 3600 s"]}));
    serde_json::from_value::<answers::UserDetail>(bob).unwrap();
    let (code, problem) = rig.get("/api/users/lost%40contoso.com").await;
    assert_eq!(code, 503);
    assert_eq!(problem["error"], "shard 1 has not answered within 5 seconds");
}

#[tokio::test]
async fn contacts_and_vetoes_are_taken_back() {
    let rig = rig(|_| ()).await;
    let eve = "/api/users/BOB%40contoso.com/contacts/Eve%40partner.example";
    let (code, forgotten) = rig.change("DELETE", eve, "").await;
    assert_eq!(
        (code, &forgotten["forgot"], &forgotten["was"]["asked"]),
        (200, &json!("contact"), &json!(true))
    );
    let (code, forgotten) = rig.change("DELETE", &format!("{eve}/veto"), "").await;
    assert_eq!((code, &forgotten["forgot"]), (200, &json!("veto")));
    let told = ["Contact", "Veto"].map(|what| format!("bob@contoso.com and eve@partner.example: {what}"));
    assert_eq!(rig.told(), told);
    let rows = [
        ("/api/users/bob%40contoso.com/contacts/partner.example/veto", 404),
        ("/api/users/bob%40contoso.com/contacts/no%40partner.example", 404),
        ("/api/users/eve%40partner.example/contacts/bob%40contoso.com", 404),
        ("/api/users/bob%40contoso.com/contacts/eve%40partner.example%2Fphone", 400),
        ("/api/users/contoso.com/contacts/eve%40partner.example", 400),
        ("/api/users/bob%40contoso.com/contacts/%FF", 400),
        ("/api/users/bob%40contoso.com", 405),
    ];
    for (path, expected) in rows {
        let (code, problem) = rig.change("DELETE", path, "").await;
        assert_eq!(code, expected, "{path}: {problem}");
        assert!(!problem["error"].as_str().unwrap().is_empty(), "{path}");
    }
    assert_eq!(rig.get(eve).await.0, 405, "reading changes nothing");
}

#[tokio::test]
async fn moves_reach_the_router() {
    let rig = rig(|_| ()).await;
    let (code, moved) =
        rig.post("/api/users/move", r#"{"user": "ALICE@contoso.com", "home": "sfb2019"}"#).await;
    assert_eq!(
        (code, moved),
        (200, json!({"users": 1, "in_time": true, "held_millis": 3, "remembered": true}))
    );
    let both = r#"{"users": ["alice@contoso.com", "bob@contoso.com"], "home": "legacy"}"#;
    assert_eq!(rig.post("/api/users/move", both).await.0, 200);
    let told = ["alice@contoso.com to sfb2019", "alice@contoso.com bob@contoso.com to legacy"];
    assert_eq!(rig.told(), told);
    let (code, problem) = rig.post("/api/reload", "{}").await;
    assert_eq!((code, &problem["error"]), (409, &json!("turnout.toml:3: homes cannot change")));
    assert_eq!(rig.told().last().unwrap(), "reload");
}

#[tokio::test]
async fn mistakes_are_answered_and_nothing_happens() {
    let rig = rig(|_| ()).await;
    let gets = [
        ("/api/users?limit=0", 400),
        ("/api/users?limit=10001", 400),
        ("/api/users?limit=x", 400),
        ("/api/users?colour=red", 400),
        ("/api/users/contoso.com", 400),
        ("/api/users/alice%40contoso.com%2Fphone", 400),
        ("/api/users/nobody%40contoso.com", 404),
        ("/api/users/%FF", 400),
        ("/api/explain?from=eve@partner.example", 400),
        ("/api/explain?from=@&to=alice@contoso.com", 400),
        ("/api/explain?from=eve@partner.example&to=alice@contoso.com&kind=shout", 400),
        ("/api/reload", 405),
        ("/api/nothing", 404),
        ("/../etc/passwd", 404),
    ];
    for (path, expected) in gets {
        let (code, problem) = rig.get(path).await;
        assert_eq!(code, expected, "{path}: {problem}");
        assert!(!problem["error"].as_str().unwrap().is_empty(), "{path}");
    }
    let posts = [
        ("", 400),
        ("[]", 400),
        (r#"{"user": "alice@contoso.com"}"#, 400),
        (r#"{"home": "legacy"}"#, 400),
        (r#"{"users": [], "home": "legacy"}"#, 400),
        (r#"{"user": "alice@contoso.com", "users": ["bob@contoso.com"], "home": "legacy"}"#, 400),
        (r#"{"user": "alice@contoso.com", "home": "legacy", "force": true}"#, 400),
        (r#"{"user": "alice@contoso.com", "home": "nowhere"}"#, 404),
        (r#"{"users": ["alice@contoso.com", "nobody@contoso.com"], "home": "sfb2019"}"#, 404),
        (r#"{"user": "al ice@contoso.com", "home": "legacy"}"#, 400),
    ];
    for (body, expected) in posts {
        let (code, problem) = rig.post("/api/users/move", body).await;
        assert_eq!(code, expected, "{body}: {problem}");
        assert!(problem["hint"].is_string(), "{body}");
    }
    let (code, problem) =
        rig.post("/api/users/move", r#"{"user": "alice@contoso.com", "home": "nowhere"}"#).await;
    assert_eq!((code, &problem["hint"]), (404, &json!("configured are: legacy, sfb2019")));
    assert_eq!(rig.post("/api/reload", r#"{"force": true}"#).await.0, 400);
    assert_eq!(rig.post("/api/users", "{}").await.0, 405);
    assert!(rig.told().is_empty());
}

#[tokio::test]
async fn a_large_body_is_refused_before_it_is_read() {
    let rig = rig(|_| ()).await;
    let head = format!("POST /api/users/move HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", rig.address);
    let length = guard::BODY_BYTES_MAX + 1;
    let json = "Content-Type: application/json\r\n";
    assert_eq!(rig.exchange(&format!("{head}{json}Content-Length: {length}\r\n\r\n")).await.0, 413);
    // A chunk that goes on too long.
    let chunk = "x".repeat(length);
    let body = format!("{length:x}\r\n{chunk}\r\n0\r\n\r\n");
    assert_eq!(rig.exchange(&format!("{head}{json}Transfer-Encoding: chunked\r\n\r\n{body}")).await.0, 413);
}

#[tokio::test]
async fn the_page_may_load_nothing_foreign() {
    let rig = rig(|_| ()).await;
    for &(path, ..) in page::FILES {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", rig.address);
        let (code, head, body) = rig.exchange(&request).await;
        assert_eq!(code, 200, "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self';"), "{head}");
        assert!(head.contains("x-frame-options: deny"), "{head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        let body = body.replace("http://www.w3.org/", "");
        assert!(!body.contains("://") && !body.contains("<script>") && !body.contains("style="), "{path}");
        assert!(
            !body.contains("innerHTML") && !body.contains("eval("),
            "{path}: text gets into the page as text"
        );
    }
}

#[tokio::test]
async fn metrics_answer_to_any_name_and_the_rest_does_not() {
    let rig = rig(|_| ()).await;
    let ask = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: turnout1.contoso.com\r\nConnection: close\r\n\r\n")
    };
    let (code, head, body) = rig.exchange(&ask("/metrics")).await;
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("turnout_stanzas_held 5\n"), "{body}");
    assert_eq!(rig.exchange(&ask("/readyz")).await.0, 200);
    assert_eq!(rig.exchange(&ask("/api/users")).await.0, 403);
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    async fn check(change: impl Fn(&mut Look) + Send + 'static, expected: &[&str]) {
        let rig = rig(change).await;
        let (code, health) = rig.get("/readyz").await;
        assert_eq!(code, if expected.is_empty() { 200 } else { 503 });
        assert_eq!(health["because"], json!(expected));
        assert_eq!(rig.get("/healthz").await.0, 200);
    }
    check(|_| (), &[]).await;
    check(|look| look.draining = true, &["the router is stopping"]).await;
    check(|look| look.addresses.clear(), &["nothing is listening"]).await;
    check(|look| look.standing.confirmed_unix = 0, &["the directory has not been loaded"]).await;
    let fails =
        |look: &mut Look| look.store.as_mut().unwrap().failing = Some("contacts.redb: full".to_owned());
    check(fails, &["the store of contacts cannot be written: contacts.redb: full"]).await;
    let fails = |look: &mut Look| look.spool.as_mut().unwrap().failing = Some("spool: full".to_owned());
    check(fails, &["the spool cannot be written: spool: full"]).await;
    check(|look| (look.store, look.spool) = (None, None), &[]).await;
}

#[tokio::test]
async fn a_router_that_is_gone_is_said_to_be() {
    let (desk, asked) = desk();
    drop(asked);
    let (address, stop, feed) = listening(desk, Access::default(), None).await;
    let rig = Rig { address, told: Told::default(), feed, token: None, _stop: stop };
    let (code, problem) = rig.get("/api/status").await;
    assert_eq!((code, &problem["error"]), (503, &json!("the router is stopping")));
    assert_eq!(rig.get("/readyz").await.0, 503);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let rig = rig(|_| ()).await;
    let mut idle = Vec::new();
    for _ in 0..server::CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        // Served once, so that it surely has its place.
        let ask = format!("GET /api/status HTTP/1.1\r\nHost: {}\r\n\r\n", rig.address);
        stream.write_all(ask.as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        idle.push(stream);
    }
    let late = rig.get("/api/status");
    let mut late = std::pin::pin!(late);
    let soon = Duration::from_millis(200);
    assert!(tokio::time::timeout(soon, late.as_mut()).await.is_err());
    idle.pop();
    assert_eq!(late.await.0, 200);
}

#[test]
fn a_loop_that_stands_still_is_noticed() {
    let start: Instant = crate::clock::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut look = example::look();
    let mut watch = Watch::default();
    assert!(watch.complaints(start).is_empty());
    for second in 0..=12 {
        look.shards[0].tally.turns += 1;
        watch.observe(after(second), &look);
    }
    assert_eq!(watch.complaints(after(12)), ["shard 1 has not turned for 10 seconds"]);
    look.shards[1].tally.turns += 1;
    watch.observe(after(13), &look);
    assert!(watch.complaints(after(13)).is_empty());
    assert_eq!(watch.complaints(after(24)), ["the control task has not answered for 10 seconds"]);
}

#[test]
fn quantiles_are_upper_bounds() {
    let mut histogram = turnout_core::tally::Histogram::default();
    assert_eq!(status::quantile_us(&histogram, 50), None);
    (0..99).for_each(|_| histogram.observe_us(80));
    histogram.observe_us(3_000);
    assert_eq!(status::quantile_us(&histogram, 50), Some(100));
    assert_eq!(status::quantile_us(&histogram, 99), Some(100));
    assert_eq!(status::quantile_us(&histogram, 100), Some(3_500));
    histogram.observe_us(u64::MAX);
    assert_eq!(status::quantile_us(&histogram, 100), Some(30_000_000));
}

#[test]
fn kinds_are_read_strictly() {
    use turnout_core::stanza::{IqType, Kind, MessageType, PresenceType};
    let rows = [
        ("message", Some(Kind::Message(MessageType::Chat))),
        ("message:headline", Some(Kind::Message(MessageType::Headline))),
        ("presence", Some(Kind::Presence(PresenceType::Available))),
        ("presence:available", Some(Kind::Presence(PresenceType::Available))),
        ("presence:subscribe", Some(Kind::Presence(PresenceType::Subscribe))),
        ("iq", Some(Kind::Iq(IqType::Get))),
        ("message:shout", None),
        ("presence:", None),
        ("iq:", None),
        ("", None),
    ];
    for (text, expected) in rows {
        assert_eq!(parse_kind(text), expected, "{text}");
    }
}
