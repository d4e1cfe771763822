//! `turnout selftest`: a message from a local user to a partner's user through a running router, as `Test-CsXmppIM` sends one. Invariant:
//! every step that was made is told, in order, and the first that fails is the last.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::http::{Client, Fault, encode};
use super::place;
use crate::admin::answers::{ExplainAnswer, HealthAnswer, TrialAnswer, TrialRequest, UserDetail};
use crate::cli::{fail, finish, stamp};
use crate::probe::{Outcome, Step};

/// Of `turnout selftest`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "For each user: the router is ready, the directory knows him, the way there and the way back, and a message that the partner's
server takes. It is sent in the user's name, as if his pool had sent it, by all the rules that hold for him; give a test user of
the legacy pool and one of the 2019 pool. It says so and asks for no answer. To see the way back, have the partner's user answer
all the same, and look whether the test user's client shows it.

Exit codes: 0 delivered, 1 not (the step says why), 2 wrong usage

Examples:
  turnout selftest --from anna@contoso.com --from carla@contoso.com --to bob@partner.example --config turnout.toml
  turnout selftest --from anna@contoso.com --to bob@partner.example --admin 127.0.0.1:9280 --json"
)]
pub struct SelftestArgs {
    /// A local user; may be repeated
    #[arg(long = "from", value_name = "LOCAL", required = true)]
    pub from: Vec<String>,
    /// A partner's user
    #[arg(long, value_name = "PARTNERUSER")]
    pub to: String,
    /// The admin address of the running router, with https:// where it speaks TLS; without it the one in the configuration
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// A file with a token, where the admin listener asks for one
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Roots for the certificate of the admin listener, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The configuration to take that address from; without it 127.0.0.1:9280
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
struct Report {
    good: bool,
    steps: Vec<Step>,
}

/// Runs the command.
pub async fn run(args: &SelftestArgs) -> ExitCode {
    let place = place(
        (args.admin.as_deref(), args.config.as_deref()),
        (args.token_file.as_deref(), args.ca.as_deref()),
    );
    let client = match place.and_then(|place| Client::new(&place)) {
        Ok(client) => client,
        Err(what) => return fail(args.json, &what),
    };
    let mut test = Test { client, json: args.json, steps: Vec::new(), good: true };
    // A router that is not ready is told once.
    if test.ready().await {
        for from in &args.from {
            test.user(from, &args.to).await;
        }
    }
    let report = Report { good: test.good, steps: test.steps };
    let users = args.from.len();
    let print = |out: &mut dyn Write, _: bool| match report.good {
        true => writeln!(
            out,
            "\ngood: {users} message(s) delivered; whether an answer comes back is seen in the user's client"
        ),
        false => writeln!(out, "\nbad: see above"),
    };
    finish(args.json, &report, print, report.good)
}

struct Test {
    client: Client,
    json: bool,
    steps: Vec<Step>,
    good: bool,
}

impl Test {
    async fn ready(&mut self) -> bool {
        match self.client.get::<HealthAnswer>("/readyz").await {
            Ok(_) => self.tell("router", "readyz", Outcome::Good, "ready"),
            Err(fault) => self.fault("router", "readyz", &fault),
        }
        self.good
    }

    /// All steps of a user; whether all were good.
    async fn user(&mut self, from: &str, to: &str) -> Option<()> {
        let user: UserDetail = self.ask("user", from, &format!("/api/users/{}", encode(from))).await?;
        let user = user.user;
        let Some(home) = &user.home else {
            return self.bad("user", from, format!("lives in no home ({})", user.residence));
        };
        let gates = [
            (user.enabled, "Enabled"),
            (user.federation_enabled, "EnabledForFederation"),
            (user.xmpp_enabled, "XMPP"),
        ];
        let closed: Vec<&str> = gates.into_iter().filter(|(open, _)| !open).map(|(_, gate)| gate).collect();
        if !closed.is_empty() {
            return self.bad(
                "user",
                from,
                format!("lives on {home}, and may not: {} is False", closed.join(", ")),
            );
        }
        self.tell("user", from, Outcome::Good, format!("lives on {home}, may talk to XMPP partners"));
        for (step, a, b) in [("way there", from, to), ("way back", to, from)] {
            let path = format!("/api/explain?from={}&to={}&kind=message", encode(a), encode(b));
            let told: ExplainAnswer = self.ask(step, &format!("{a} to {b}"), &path).await?;
            let about = format!("{a} to {b}");
            match (&told.route, &told.refusal) {
                (Some(route), _) => self.tell(step, &about, Outcome::Good, format!("goes to {route}")),
                (None, Some(refusal)) => {
                    let detail =
                        refusal.detail.as_deref().map_or_else(String::new, |detail| format!(" [{detail}]"));
                    return self.bad(
                        step,
                        &about,
                        format!("{}: {}{detail}", refusal.condition, refusal.text),
                    );
                }
                (None, None) => return self.bad(step, &about, "goes nowhere".to_owned()),
            }
        }
        let request = TrialRequest { from: from.to_owned(), to: to.to_owned() };
        let about = format!("{from} to {to}");
        match self.client.post::<TrialAnswer>("/api/selftest", &request).await {
            Ok(TrialAnswer { delivered: true, millis, .. }) => {
                self.push("message", &about, Outcome::Good, "the partner's server has it".to_owned(), millis);
                Some(())
            }
            Ok(TrialAnswer { refusal, millis, .. }) => {
                let why = refusal.map_or_else(String::new, |refusal| {
                    let detail = refusal.detail.map_or_else(String::new, |detail| format!(" [{detail}]"));
                    format!("{}: {}{detail}", refusal.condition, refusal.text)
                });
                let domain = to.split('@').next_back().unwrap_or_default();
                self.push(
                    "message",
                    &about,
                    Outcome::Bad,
                    format!("{why}; see turnout probe {domain}"),
                    millis,
                );
                None
            }
            Err(fault) => {
                self.fault("message", &about, &fault);
                None
            }
        }
    }

    async fn ask<A: serde::de::DeserializeOwned>(
        &mut self,
        step: &str,
        about: &str,
        path: &str,
    ) -> Option<A> {
        match self.client.get(path).await {
            Ok(answer) => Some(answer),
            Err(fault) => {
                self.fault(step, about, &fault);
                None
            }
        }
    }

    fn fault(&mut self, step: &str, about: &str, fault: &Fault) {
        self.tell(step, about, Outcome::Bad, fault.to_string());
    }

    fn bad(&mut self, step: &str, about: &str, what: String) -> Option<()> {
        self.tell(step, about, Outcome::Bad, what);
        None
    }

    fn tell(&mut self, step: &str, about: &str, outcome: Outcome, text: impl Into<String>) {
        self.push(step, about, outcome, text.into(), 0);
    }

    fn push(&mut self, step: &str, about: &str, outcome: Outcome, text: String, millis: u64) {
        self.good &= outcome != Outcome::Bad;
        let about = crate::log::escape(about);
        let step =
            Step { step: step.to_owned().into(), about, outcome, text: crate::log::escape(&text), millis };
        if !self.json {
            let mut out = io::stdout().lock();
            let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            // That nobody reads any more shows again at the end.
            drop(writeln!(out, "{} {step}", stamp(outcome, colour)).and_then(|()| out.flush()));
        }
        self.steps.push(step);
    }
}
