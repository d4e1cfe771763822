//! What an administrator has a running router send: `turnout selftest`, and the ping of `turnout probe --running`.

use std::process::{Command, Output};

use serde_json::Value;

use crate::estate::{Estate, Plan, SFB2019};

const BOB: &str = "bob@partner.example";

struct Desk {
    estate: Estate,
    admin: String,
}

impl Desk {
    fn of(plan: &Plan) -> Self {
        let estate = Estate::with(plan);
        let admin = estate.runtime.block_on(turnout::desk::open(&estate.router, ([127, 0, 0, 1], 0).into()));
        Self { estate, admin: admin.unwrap().to_string() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnout"));
        command.args(args).args(["--admin", &self.admin]);
        command
    }

    fn selftest(&self, args: &[&str]) -> (i32, Value) {
        let output = self.command(&[&["selftest", "--json"], args].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?} {said}"));
        (output.status.code().unwrap(), told)
    }
}

/// Steps as `outcome name: text`.
fn steps(told: &Value) -> Vec<String> {
    let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = told["steps"].as_array().unwrap().iter();
    steps
        .map(|step| format!("{} {}: {}", text(step, "outcome"), text(step, "step"), text(step, "text")))
        .collect()
}

#[test]
fn a_message_of_a_user_of_each_track_reaches_the_partner() {
    let desk = Desk::of(&Plan::default());
    let output = desk
        .command(&["selftest", "--from", "anna@contoso.com", "--from", "carla@contoso.com", "--to", BOB])
        .output();
    let output: Output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for line in [
        "ok   router      readyz: ready",
        "ok   user        anna@contoso.com: lives on legacy, may talk to XMPP partners",
        "ok   way there   anna@contoso.com to bob@partner.example: goes to partner partner.example",
        "ok   way back    bob@partner.example to carla@contoso.com: goes to home sfb2019",
        "ok   message     carla@contoso.com to bob@partner.example: the partner's server has it",
        "good: 2 message(s) delivered",
    ] {
        assert!(said.contains(line), "{line:?} in {said}");
    }
    let stanzas = desk.estate.partner.stanzas.at_least(2);
    for (stanza, from) in stanzas.iter().zip(["anna@contoso.com", "carla@contoso.com"]) {
        assert!(stanza.contains(&format!("from='{from}'")) && stanza.contains("type='chat'"), "{stanza}");
        assert!(stanza.contains("<body>This is a test by the administrator"), "{stanza}");
    }
    // They count as any other.
    desk.estate.finish(2);
}

#[test]
fn the_step_that_fails_is_the_last_and_says_why() {
    let plan = Plan { partner_is_up: false, ..Plan::default() };
    let mut plan = plan;
    plan.users.push(("nowhere@contoso.com".to_owned(), "elsewhere.contoso.com"));
    plan.users.push(("moved@contoso.com".to_owned(), SFB2019));
    let desk = Desk::of(&plan);
    let check = |from: &str, to: &str, last: &str| {
        let (code, told) = desk.selftest(&["--from", from, "--to", to]);
        let steps = steps(&told);
        assert_eq!((code, told["good"].as_bool()), (1, Some(false)), "{steps:#?}");
        assert!(steps.last().unwrap().contains(last), "{last:?} in {steps:#?}");
    };
    check("nobody@contoso.com", BOB, "bad user: nobody@contoso.com is not in the directory");
    check("nowhere@contoso.com", BOB, "bad user: lives in no home (unknown_pool)");
    check("anna@contoso.com", "x@stranger.example", "bad way there: remote-server-not-found");
    check("anna@contoso.com", BOB, "see turnout probe partner.example");
    check("moved@contoso.com", BOB, "bad message: ");
    check("anna@contoso.com", "bert@contoso.com", "bad ");
    let elsewhere = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["selftest", "--from", "a@contoso.com", "--to", BOB, "--admin", "127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&elsewhere.stdout).starts_with("bad  router "), "{elsewhere:?}");
}

/// The value of the id in a stanza.
fn id(stanza: &str) -> &str {
    stanza.split("id='").nth(1).unwrap().split('\'').next().unwrap()
}

#[test]
fn a_running_router_pings_over_its_own_stream() {
    let desk = Desk::of(&Plan::default());
    let probe = || desk.command(&["probe", "partner.example", "--running", "--json"]);
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| probe().output().unwrap());
        let ping = desk.estate.partner.stanzas.first("the ping", |stanza| stanza.contains("urn:xmpp:ping"));
        assert!(ping.contains("from='contoso.com'") && ping.contains("to='partner.example'"), "{ping}");
        let mut wire = desk.estate.partner_stream("contoso.com");
        let answer =
            |id: &str| format!("<iq type='result' from='partner.example' to='contoso.com' id='{id}'/>");
        // What answers another ping is no answer to this one; neither is another's word.
        let other = id(&ping).replace(['1', 'a'], "0");
        wire.send(answer(&other));
        wire.send(answer(id(&ping)));
        asked.join().unwrap()
    });
    let told: Value = serde_json::from_slice(&asked.stdout).unwrap_or_else(|_| panic!("{asked:?}"));
    assert_eq!((asked.status.code(), told["good"].as_bool()), (Some(0), Some(true)), "{told:#}");
    let steps = steps(&told);
    assert!(steps.last().unwrap().starts_with("good ping: answered, there and back"), "{steps:#?}");
    assert!(steps.iter().any(|step| step.starts_with("good external:")), "{steps:#?}");
    assert_eq!(told["diagnosis"].as_array().unwrap().len(), 0);
    for wrong in [&["contoso.com"][..], &["a@b"], &["partner.example", "--from", "partner.example"]] {
        let output = desk.command(&[&["probe", "--running"], wrong].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
    }
    desk.estate.until("nothing held", |_, made, held| made.received > 0 && held == 0);
}
