//! What an administrator sees of a user, and takes back, through the command line and the API of a running router.

use std::process::{Command, Output};

use turnout::admin::answers::{ForgottenAnswer, UserDetail};

use crate::estate::{Estate, wait};
use crate::tracks::gateway_stream;

const ANNA: &str = "anna@contoso.com";
const BOB: &str = "bob@partner.example";

/// Runs `turnout user` against the router.
fn user(admin: &str, words: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_turnout");
    Command::new(binary).args(["user", "--json", "--admin", admin]).args(words).output().unwrap()
}

fn show(admin: &str) -> UserDetail {
    let output = user(admin, &["show", ANNA]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_administrator_sees_a_watcher_and_takes_him_back() {
    let estate = Estate::new();
    let admin = estate.runtime.block_on(turnout::desk::open(&estate.router, ([127, 0, 0, 1], 0).into()));
    let admin = admin.unwrap().to_string();
    assert_eq!(show(&admin).contacts_total, 0);

    let mut partner = estate.partner_stream("contoso.com");
    partner.send(format!("<presence type='subscribe' from='{BOB}' to='{ANNA}'/>"));
    estate.gateway.stanzas.at_least(1);
    let mut gateway = gateway_stream(&estate);
    gateway.send(format!("<presence type='subscribed' from='{ANNA}' to='{BOB}'/>"));
    gateway.send(format!("<presence from='{ANNA}/desk' to='{BOB}'/>"));
    estate.partner.stanzas.at_least(2);
    wait("the watcher", || {
        let shown = show(&admin);
        let state = shown.contacts.first().map(|contact| (contact.subscription.as_str(), &*contact.shown));
        let right = state == Some(("from", &["desk".to_owned()]));
        if right { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    assert_eq!(show(&admin).user.home.as_deref(), Some("legacy"));

    let output = user(&admin, &["forget", ANNA, BOB]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let forgotten: ForgottenAnswer = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((forgotten.was.partner.as_str(), forgotten.was.subscription.as_str()), (BOB, "from"));
    let told = estate.partner.stanzas.at_least(4);
    assert!(told[2].contains("unavailable") && told[2].contains("anna@contoso.com/desk"), "{told:?}");
    assert!(told[3].contains("unsubscribed"), "{told:?}");
    let told = estate.gateway.stanzas.at_least(2);
    assert!(told[1].contains("unsubscribe") && told[1].contains(BOB), "{told:?}");
    assert_eq!(show(&admin).contacts_total, 0);
    assert_eq!(user(&admin, &["forget", ANNA, BOB]).status.code(), Some(1), "there is none more");
    estate.finish(3);
}
