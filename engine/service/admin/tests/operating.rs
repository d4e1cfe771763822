//! Tokens, the audit log, moves of many users, what the shards hold, traces, events.

use super::*;
use crate::access::{Role, make_token, of_text};

/// Two tokens, and who may come in with them.
fn tokens() -> (Access, String, String) {
    let (read, read_line) = make_token("grafana", Role::Read).unwrap();
    let (operate, operate_line) = make_token("anna", Role::Operate).unwrap();
    (of_text(&format!("{read_line}\n{operate_line}")), read, operate)
}

#[tokio::test]
async fn without_a_token_nothing_is_told_and_with_one_no_more_than_its_role() {
    let (access, read, operate) = tokens();
    let mut rig = rig_with(access, |_| ()).await;
    for wrong in [None, Some("turnout_".to_owned()), Some(format!("{operate}0"))] {
        rig.token = wrong;
        for (path, methods, _) in ROUTES {
            let path = path
                .replace("{jid}", "bob%40contoso.com")
                .replace("{partner}", "eve%40x")
                .replace("{id}", "1");
            for method in *methods {
                let expected = if matches!(&*path, "/healthz" | "/readyz") { 200 } else { 401 };
                let (code, answer) = rig.change(method, &path, "").await;
                assert_eq!(code, expected, "{method} {path}: {answer}");
            }
        }
        assert_eq!(rig.get("/api/nothing").await.0, 401, "a stranger does not learn what is there");
    }
    let request = format!("GET /api/live HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", rig.address);
    let (code, head, body) = rig.exchange(&request).await;
    assert!(code == 401 && head.contains("www-authenticate: bearer"), "{head}");
    assert!(!body.contains("anna") && !body.contains("grafana"), "{body}");
    for (file, ..) in page::FILES {
        let request = format!("GET {file} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", rig.address);
        assert_eq!(rig.exchange(&request).await.0, 200, "{file}: the page asks for the token");
    }
    rig.token = Some(read);
    assert_eq!(rig.get("/api/whoami").await.1, json!({"name": "grafana", "role": "read", "tokens": true}));
    for (path, methods, _) in ROUTES {
        for method in methods.iter().filter(|method| **method != "GET") {
            let (code, problem) = rig.change(method, path, "{}").await;
            assert_eq!(
                (code, &problem["error"]),
                (403, &json!("the token grafana may only read")),
                "{method} {path}"
            );
        }
    }
    assert!(rig.told().is_empty());
    rig.token = Some(operate);
    assert_eq!(
        rig.post("/api/users/move", r#"{"user": "alice@contoso.com", "home": "sfb2019"}"#).await.0,
        200
    );
    assert_eq!(rig.told(), ["alice@contoso.com to sfb2019"]);
}

#[tokio::test]
async fn metrics_want_a_token_unless_told_otherwise() {
    let (mut access, ..) = tokens();
    access.metrics_without_token = true;
    let rig = rig_with(access, |_| ()).await;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", rig.address);
    assert_eq!(rig.exchange(&request).await.0, 200);
    assert_eq!(rig.get("/api/status").await.0, 401);
}

#[tokio::test]
async fn every_change_is_written_down_with_who_what_and_what_came_of_it() {
    let (access, read, operate) = tokens();
    let mut rig = rig_with(access, |_| ()).await;
    rig.get("/api/live").await;
    rig.token = Some(read.clone());
    rig.post("/api/drain", "").await;
    rig.token = Some(operate.clone());
    rig.post("/api/users/move", r#"{"user": "alice@contoso.com", "home": "sfb2019"}"#).await;
    rig.post("/api/users/move", r#"{"user": "alice@contoso.com", "home": "nowhere"}"#).await;
    rig.post("/api/reload", "{}").await;
    rig.post("/api/reload/preview", "").await;
    rig.change("PUT", "/api/trace", r#"{"mode": "all", "only": ["Alice@contoso.com"]}"#).await;
    rig.change("DELETE", "/api/users/bob%40contoso.com/contacts/eve%40partner.example", "").await;
    let (code, audit) = rig.get("/api/audit?limit=20").await;
    let rows: Vec<(&str, u64, &str, &str)> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap();
            (text("who"), entry["status"].as_u64().unwrap(), text("action"), text("result"))
        })
        .collect();
    assert_eq!(code, 200);
    assert_eq!(
        rows,
        [
            ("grafana", 403, "POST /api/drain", "the token grafana may only read"),
            ("anna", 200, "POST /api/users/move", "1 of 1 users moved to sfb2019: alice@contoso.com"),
            ("anna", 404, "POST /api/users/move", "there is no home \"nowhere\""),
            ("anna", 409, "POST /api/reload", "turnout.toml:3: homes cannot change"),
            (
                "anna",
                200,
                "POST /api/reload/preview",
                "only looked: 0 keys and 0 certificates changed, users: 0 new, 0 gone, 7 moved"
            ),
            ("anna", 200, "PUT /api/trace", "the trace remembers all of alice@contoso.com"),
            (
                "anna",
                200,
                "DELETE /api/users/bob%40contoso.com/contacts/eve%40partner.example",
                "contact of bob@contoso.com and eve@partner.example taken back"
            ),
        ]
    );
    assert_eq!(audit["entries"][0]["from"], "127.0.0.1");
    assert_eq!(audit["strangers"], 1);
    // Neither the audit nor what watchers are told holds a token.
    let told = format!("{audit}{:?}", rig.feed.after(0, usize::MAX));
    assert!(!told.contains(&read[8..]) && !told.contains(&operate[8..]));
    let (_, page) = rig.get("/api/audit?limit=3").await;
    assert_eq!((page["entries"].as_array().unwrap().len(), &page["next_before"]), (3, &json!(5)));
    assert_eq!(rig.get("/api/audit?limit=0").await.0, 400);
}

/// With names out of the log, they are out of what the role `read` sees as well, and whoever operates sees them.
#[tokio::test]
async fn who_may_only_read_is_told_words_where_the_log_is() {
    let (access, read, operate) = tokens();
    let mut rig = rig_of(access, Some([7; 32]), |_| ()).await;
    rig.token = Some(operate.clone());
    rig.post("/api/users/move", r#"{"user": "alice@contoso.com", "home": "sfb2019"}"#).await;
    rig.change("DELETE", "/api/users/bob%40contoso.com/contacts/eve%40partner.example", "").await;
    rig.change("PUT", "/api/trace", r#"{"mode": "all", "only": ["carla@contoso.com"]}"#).await;
    let paths: Vec<String> = ROUTES
        .iter()
        .filter(|(path, methods, _)| {
            methods.contains(&"GET")
                && !path.ends_with("/stream")
                && !matches!(*path, "/metrics" | "/healthz" | "/readyz" | "/api/openapi.json")
        })
        .map(|(path, ..)| path.replace("{jid}", "bob%40contoso.com").replace("{id}", "1"))
        .map(|path| match &*path {
            "/api/explain" => "/api/explain?from=eve%40partner.example&to=alice%40contoso.com".to_owned(),
            _ => path,
        })
        .collect();
    // What is live is there from the second look on.
    while rig.get("/api/live").await.0 != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut seen = std::collections::BTreeMap::new();
    for (role, token) in [("operate", operate), ("read", read)] {
        rig.token = Some(token);
        for path in &paths {
            let (code, answer) = rig.get(path).await;
            seen.insert((role, path.clone()), (code, answer.to_string()));
        }
    }
    let mut told = 0;
    for path in &paths {
        let (code, all) = &seen[&("operate", path.clone())];
        let (other, hidden) = &seen[&("read", path.clone())];
        if path == "/api/users" {
            assert_eq!((*code, *other), (200, 403), "a list of names goes on behind a name");
            continue;
        }
        assert_eq!(code, other, "{path}");
        told +=
            usize::from(["alice", "bob@", "bob%40", "eve", "carla"].iter().any(|name| all.contains(name)));
        for name in ["alice", "bob@", "bob%40", "eve@", "eve%40", "carla"] {
            assert!(!hidden.contains(name), "{path}: {hidden}");
        }
    }
    assert!(told >= 6, "{told}: trace, audit, events, contacts, dialogs and what explains, at least");
    assert!(seen[&("read", "/api/audit".to_owned())].1.contains("~"), "the same words as in the log");
}

/// The same of what is told as it happens.
#[tokio::test]
async fn events_as_they_happen_are_told_in_words_too() {
    for (role, shown) in [(Role::Operate, true), (Role::Read, false)] {
        let (token, line) = make_token("anna", role).unwrap();
        let rig = rig_of(of_text(&line), Some([7; 32]), |_| ()).await;
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let request = format!(
            "GET /api/events/stream HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
            rig.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.contains("@contoso.com moved") {
            if text.contains("text/event-stream") && text.len() < 2000 {
                rig.feed.add(1, "move", json!({"text": "alice@contoso.com moved"}));
            }
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        assert_eq!(text.contains("alice"), shown, "{text}");
    }
}

#[tokio::test]
async fn so_many_users_are_moved_at_a_time_and_no_more() {
    use turnout_core::limits::MOVE_USERS_MAX;
    let rig = rig(|_| ()).await;
    let body = |count| json!({"users": vec!["x@contoso.com"; count], "home": "sfb2019"}).to_string();
    for path in ["/api/users/move", "/api/moves"] {
        let (code, problem) = rig.post(path, &body(MOVE_USERS_MAX + 1)).await;
        assert_eq!(code, 413, "{path}: {problem}");
        assert!(problem["hint"].as_str().unwrap().contains("100000"), "{problem}");
    }
    // As many as may be are looked at, and none of them is known.
    assert_eq!(rig.post("/api/users/move", &body(MOVE_USERS_MAX)).await.0, 404);
    assert!(rig.told().is_empty());
}

#[tokio::test]
async fn many_users_are_moved_in_batches_with_progress_and_can_be_stopped() {
    let rig = rig(|_| ()).await;
    let wanted = r#"{"from": "legacy", "home": "sfb2019", "dry_run": true}"#;
    let (code, dry) = rig.post("/api/moves", wanted).await;
    assert_eq!(
        (code, &dry["state"], &dry["total"], &dry["moved"]),
        (200, &json!("dry_run"), &json!(1), &json!(1))
    );
    assert!(rig.told().is_empty());
    let wanted = r#"{"users": ["alice@contoso.com", "bob@contoso.com", "lost@contoso.com"], "home": "sfb2019", "batch": 2}"#;
    let (code, job) = rig.post("/api/moves", wanted).await;
    assert_eq!((code, &job["id"], &job["total"]), (202, &json!(1), &json!(3)));
    let ended = async {
        loop {
            let (_, job) = rig.get("/api/moves/1").await;
            if job["ended_unix_millis"].is_u64() {
                return job;
            }
            tokio::task::yield_now().await;
        }
    };
    let job = tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    assert_eq!((&job["state"], &job["done"], &job["moved"]), (&json!("done"), &json!(3), &json!(3)));
    assert_eq!(rig.told(), ["alice@contoso.com bob@contoso.com to sfb2019", "lost@contoso.com to sfb2019"]);
    let (code, problem) = rig.change("DELETE", "/api/moves/1", "").await;
    assert_eq!((code, &problem["error"]), (409, &json!("move 1 has ended already: done")));
    let rows = [
        (r#"{"home": "sfb2019"}"#, 400),
        (r#"{"users": [], "home": "sfb2019"}"#, 400),
        (r#"{"users": ["alice@contoso.com"], "from": "legacy", "home": "sfb2019"}"#, 400),
        (r#"{"users": ["alice@contoso.com"], "home": "sfb2019", "batch": 0}"#, 400),
        (r#"{"users": ["alice@contoso.com"], "home": "sfb2019", "batch": 1001}"#, 400),
        (r#"{"users": ["nobody@contoso.com"], "home": "sfb2019"}"#, 404),
        (r#"{"from": "nowhere", "home": "sfb2019"}"#, 404),
        (r#"{"from": "legacy", "home": "nowhere"}"#, 404),
    ];
    for (body, expected) in rows {
        assert_eq!(rig.post("/api/moves", body).await.0, expected, "{body}");
    }
    assert_eq!(rig.get("/api/moves/2").await.0, 404);
    assert_eq!(rig.get("/api/moves/x").await.0, 400);
    let kinds: Vec<_> = rig.feed.after(0, 9).iter().filter(|event| event.kind == "move").cloned().collect();
    assert_eq!((kinds.len(), &kinds[1].data["state"]), (2, &json!("done")), "the beginning and the end");
}

#[tokio::test]
async fn what_the_shards_hold_is_put_together() {
    let rig = rig(|_| ()).await;
    rig.feed.note(
        5,
        0,
        &turnout_core::io::Note {
            notice: turnout_core::notice::Notice::StreamFailed,
            side: Some(turnout_core::io::Side::Partners),
            link: None,
            about: "partner.example".into(),
            text: "cannot be reached: connection refused".to_owned(),
        },
    );
    let (_, partners) = rig.get("/api/partners").await;
    let health = &partners["partners"][0]["health"];
    assert_eq!(
        (&health["state"], &health["streams_in"], &health["waiting"]),
        (&json!("good"), &json!(1), &json!(3))
    );
    assert_eq!(
        health["last_error"],
        json!({"at_unix_millis": 5, "text": "cannot be reached: connection refused"})
    );
    let (_, queues) = rig.get("/api/queues").await;
    assert_eq!(
        (&queues["queues"][0]["shard"], &queues["queues"][0]["again_seconds"]),
        (&json!(1), &json!(4))
    );
    let mut seen = Vec::new();
    let mut path = "/api/links?limit=2".to_owned();
    while seen.len() < 20 {
        let (code, page) = rig.get(&path).await;
        assert_eq!(code, 200, "{page}");
        seen.extend(
            page["links"].as_array().unwrap().iter().map(|link| link["link"].as_str().unwrap().to_owned()),
        );
        match page["next_after"].as_str() {
            Some(next) => path = format!("/api/links?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["0.i1", "0.i2", "0.i3", "1.i1", "1.i2", "1.i3"]);
    for (list, expected) in [("dialogs", 6), ("subscriptions", 4)] {
        let (mut count, mut path) = (0, format!("/api/{list}?limit=2"));
        for _ in 0..20 {
            let (_, page) = rig.get(&path).await;
            count += page["rows"].as_array().unwrap().len();
            match page["next_after"].as_str() {
                Some(next) => path = format!("/api/{list}?limit=2&after={next}"),
                None => break,
            }
        }
        assert_eq!(count, expected, "{list}");
    }
    let (_, certificates) = rig.get("/api/certificates").await;
    assert_eq!(certificates["certificates"][0]["days_left"], 3);
    for wrong in
        ["/api/links?limit=0", "/api/links?after=x", "/api/dialogs?limit=1001", "/api/queues?limit=1x&"]
    {
        let code = rig.get(wrong).await.0;
        assert!(code == 400 || wrong.starts_with("/api/queues"), "{wrong}: {code}");
    }
}

#[tokio::test]
async fn a_trace_is_asked_for_and_set() {
    let rig = rig(|_| ()).await;
    let (code, trace) = rig.get("/api/trace?id=m1&who=Alice%40contoso.com&failures=true").await;
    assert_eq!((code, &trace["mode"]), (200, &json!("failures")));
    let step = &trace["steps"][0];
    assert_eq!(
        (&step["to"], &step["id"], &step["step"]),
        (&json!("alice@contoso.com"), &json!("m1"), &json!("bounced"))
    );
    assert_eq!(step["why"], "item-not-found (recipient): nobody\\n [x]", "one line");
    for wrong in ["who=%40", "limit=0", "limit=1001", "colour=red", "since_unix_millis=x"] {
        assert_eq!(rig.get(&format!("/api/trace?{wrong}")).await.0, 400, "{wrong}");
    }
    let set = |body: &'static str| rig.change("PUT", "/api/trace", body);
    assert_eq!(
        set(r#"{"mode": "all", "only": ["Partner.Example"]}"#).await.1["only"],
        json!(["partner.example"])
    );
    assert_eq!(rig.told(), [r#"trace all ["partner.example"]"#]);
    for wrong in
        [r#"{"mode": "some"}"#, r#"{"mode": "all", "only": ["@"]}"#, "{}", r#"{"mode": "all", "x": 1}"#]
    {
        assert_eq!(set(wrong).await.0, 400, "{wrong}");
    }
    let many = format!(r#"{{"mode": "all", "only": [{}]}}"#, vec![r#""a.example""#; 33].join(","));
    assert_eq!(rig.change("PUT", "/api/trace", &many).await.0, 400);
}

#[tokio::test]
async fn the_process_is_asked_to_end_and_its_log_to_say_more() {
    let rig = rig(|_| ()).await;
    let (code, answer) = rig.post("/api/drain", "{}").await;
    assert_eq!(code, 202, "{answer}");
    assert_eq!(rig.told(), ["stop"]);
    assert_eq!(rig.post("/api/drain", r#"{"now": true}"#).await.0, 400);
    for wrong in [r#"{"filter": ""}"#, r#"{"filter": "=,=loud"}"#, "{}", r#"{"filter": "info", "x": 1}"#] {
        assert_eq!(rig.change("PUT", "/api/log", wrong).await.0, 400, "{wrong}");
    }
    // A test writes no log.
    assert_eq!(rig.change("PUT", "/api/log", r#"{"filter": "debug"}"#).await.0, 409);
}

#[tokio::test]
async fn watchers_are_told_what_happens_and_there_are_only_so_many() {
    let rig = rig(|_| ()).await;
    let ask =
        |extra: &str| format!("GET /api/events/stream HTTP/1.1\r\nHost: {}\r\n{extra}\r\n", rig.address);
    rig.feed.add(1, "note", json!({"text": "missed"}));
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(ask("Last-Event-ID: 0\r\n").as_bytes()).await.unwrap();
    let mut seen = String::new();
    let told = async {
        let mut bytes = [0; 4096];
        while !(seen.contains("missed") && seen.contains("event: live") && seen.contains("later")) {
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "it ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            if seen.contains("missed") && !seen.contains("later") {
                rig.feed.add(2, "note", json!({"text": "later"}));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    assert!(
        seen.contains("content-type: text/event-stream") && seen.contains("id: 1\nevent: event\n"),
        "{seen}"
    );
    let mut listeners = vec![stream];
    for _ in 1..stream::STREAMS_MAX {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(ask("").as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        listeners.push(stream);
    }
    let (code, _, _) = rig.exchange(&ask("Connection: close\r\n")).await;
    assert_eq!(code, 503);
}

#[test]
fn the_document_has_every_path_and_no_other() {
    let mut served: Vec<(String, Vec<&str>)> =
        ROUTES.iter().map(|(path, methods, _)| ((*path).to_owned(), methods.to_vec())).collect();
    let mut written = openapi::paths();
    served.sort();
    written.sort();
    assert_eq!(served, written);
}
