//! Trials: one at a time, in the name of those who may be named.

use super::*;

#[tokio::test]
async fn one_probe_at_a_time() {
    let rig = rig(|_| ()).await;
    let probe = || rig.post("/api/probe", r#"{"partner": "partner.example"}"#);
    let second = async {
        while rig.told().is_empty() {
            tokio::task::yield_now().await;
        }
        probe().await
    };
    let (status, problem) = tokio::select! {
        first = probe() => panic!("{first:?}"),
        second = second => second,
    };
    assert_eq!((status, problem["error"].as_str()), (429, Some("another one is under way")));
    assert_eq!(rig.told(), ["probe partner.example from contoso.com"]);
    for (body, part) in [
        (r#"{"partner": "contoso.com"}"#, "is not from a local domain"),
        (r#"{"partner": "partner.example", "from": "partner.example"}"#, "is not from a local domain"),
        (r#"{"partner": "a@b"}"#, "a@b"),
        ("{}", "the body is no probe"),
    ] {
        let (status, problem) = rig.post("/api/probe", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(problem["error"].as_str().unwrap().contains(part), "{body}: {problem}");
    }
}

#[tokio::test]
async fn a_trial_is_a_local_users_word_to_a_partner() {
    let rig = rig(|_| ()).await;
    let (status, answer) =
        rig.post("/api/selftest", r#"{"from": "alice@contoso.com", "to": "eve@partner.example"}"#).await;
    assert_eq!((status, &answer["delivered"]), (200, &Value::from(true)));
    assert!(rig.told()[0].contains("eve@partner.example"));
    let (_, audit) = rig.get("/api/audit").await;
    let entry = &audit["entries"][0];
    assert_eq!(entry["action"], "POST /api/selftest");
    assert_eq!(entry["result"], "a test message from alice@contoso.com to eve@partner.example: delivered");
    for (from, to, expected) in [
        ("nobody@contoso.com", "eve@partner.example", 404),
        ("alice@contoso.com", "bob@contoso.com", 400),
        ("alice@contoso.com/x", "eve@partner.example", 400),
        ("eve@partner.example", "eve@partner.example", 404),
    ] {
        let body = format!(r#"{{"from": "{from}", "to": "{to}"}}"#);
        assert_eq!(rig.post("/api/selftest", &body).await.0, expected, "{body}");
    }
    assert_eq!(rig.told().len(), 1);
}
