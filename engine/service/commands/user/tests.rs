//! The command against a real admin listener, with a task in the router's place.

use tokio::sync::watch;

use super::*;
use crate::admin::views::MoveJob;
use crate::admin::{self, Ask};
use crate::look::example::{self, look};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: UserArgs,
}

fn parse(words: &[&str]) -> Result<UserArgs, clap::Error> {
    <Line as clap::Parser>::try_parse_from([&["user"], words].concat()).map(|line| line.args)
}

/// Runs one command against a router whose moves end in `moved`; code, output, errors.
async fn run_against(moved: Result<MovedAnswer, String>, words: &[&str]) -> (u8, String, String) {
    let (desk, mut asked) = admin::desk();
    tokio::spawn(async move {
        while let Some(ask) = asked.recv().await {
            match ask {
                Ask::Look(done) => drop(done.send(look())),
                Ask::Move(_, _, done) => drop(done.send(moved.clone())),
                Ask::Tell(user, done) => drop(done.send(example::told(user.as_str()))),
                Ask::Forget(pair, what, done) => drop(done.send(Ok(example::forgotten(&pair, what)))),
                Ask::Preview(_) | Ask::Survey(..) | Ask::Trace(..) | Ask::Stop(_) => {}
                Ask::Reload(done) => drop(done.send(Err("no".to_owned()))),
                Ask::Try(..) | Ask::Probe { .. } => {}
            }
        }
    });
    let listener = admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (_stop, stopped) = watch::channel(false);
    let (access, feed) = (Default::default(), Default::default());
    tokio::spawn(admin::serve(
        admin::Listening { listener, desk, access, feed, tls: None, words: None },
        stopped,
    ));
    run_at(&address, words).await
}

async fn run_at(address: &str, words: &[&str]) -> (u8, String, String) {
    let args = parse(&[&["--admin", address], words].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&args, None, &mut out, &mut err).await;
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn good() -> Result<MovedAnswer, String> {
    Ok(MovedAnswer { users: 2, in_time: true, held_millis: 4, remembered: true })
}

#[tokio::test]
async fn listing_goes_on_over_pages() {
    let (code, out, err) = run_against(good(), &["list"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let lines = [
        "alice@contoso.com  legacy",
        "bob@contoso.com  sfb2019  [no XMPP]",
        "lost@contoso.com  (pool lost.contoso.com, which no home names)",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), lines);
    let (_, out, _) = run_against(good(), &["list", "--limit", "1", "--prefix", "b"]).await;
    assert_eq!(out, "bob@contoso.com  sfb2019  [no XMPP]\n");
    let (_, out, _) = run_against(good(), &["list", "--limit", "1"]).await;
    assert_eq!(out.lines().nth(1), Some("there are more; go on with --after alice@contoso.com"));
    let (_, out, _) =
        run_against(good(), &["list", "--limit", "0", "--json", "--after", "alice@contoso.com"]).await;
    let answer: UsersAnswer = serde_json::from_str(&out).unwrap();
    assert_eq!((answer.users.len(), answer.next_after), (2, None));
}

#[tokio::test]
async fn a_user_is_shown_or_not_known() {
    let (code, out, _) = run_against(good(), &["show", "BOB@contoso.com", "--json"]).await;
    let answer: UserDetail = serde_json::from_str(&out).unwrap();
    assert_eq!((code, answer.user.home.as_deref(), answer.user.xmpp_enabled), (0, Some("sfb2019"), false));
    assert_eq!((answer.contacts.len(), answer.contacts_total, answer.held), (3, 5, 2));
    assert_eq!(answer.open["sfb2019"].len(), 1);
    let (code, out, err) = run_against(good(), &["show", "nobody@contoso.com"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("nobody@contoso.com is not in the directory; "), "{err}");
    let (code, _, err) = run_against(good(), &["show", "contoso.com", "--json"]).await;
    assert_eq!(code, 2);
    assert!(
        serde_json::from_str::<Problem>(&err).unwrap().error.contains("is not a user's address"),
        "{err}"
    );
}

#[tokio::test]
async fn a_user_is_shown_with_his_contacts() {
    let (code, out, err) = run_against(good(), &["show", "bob@contoso.com"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let lines = [
        "bob@contoso.com  sfb2019  [no XMPP]",
        "  account in use        yes",
        "  federation            yes",
        "  XMPP partners         no",
        "  moved by hand         no",
        "  held for a move       2",
        "  contacts              5",
        "    state  waits   marks               shown as              contact",
        "    none   asked   vetoed, introduced  -                     eve@partner.example",
        "    both   -       -                   sfb                   mallory\\u{202e}@partner.example",
        "    from   asking  -                   a-very-long-reso\u{2026} +1  partner.example",
        "    and 2 more",
        "  open on sfb2019",
        "    watch for eve@partner.example, active, ends in 3600 s",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), lines);
    let (_, out, _) = run_against(good(), &["show", "alice@contoso.com"]).await;
    assert_eq!(out.lines().last(), Some("  contacts              0"));
    let (code, _, err) = run_against(good(), &["show", "lost@contoso.com"]).await;
    assert_eq!(code, 1);
    assert_eq!(err, "shard 1 has not answered within 5 seconds; look at /healthz, and ask again\n");
}

#[tokio::test]
async fn a_contact_is_forgotten_or_was_not_there() {
    let words = ["forget", "Bob@contoso.com", "eve@partner.example"];
    let (code, out, err) = run_against(good(), &words).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let lines = [
        "bob@contoso.com and eve@partner.example have nothing to do with each other any more; it was:",
        "    state  waits  marks               shown as  contact",
        "    none   asked  vetoed, introduced  -         eve@partner.example",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), lines);
    let (code, out, _) = run_against(good(), &[&words[..], &["--veto"]].concat()).await;
    assert_eq!((code, out.as_str()), (0, "bob@contoso.com may ask eve@partner.example again\n"));
    let (_, out, _) = run_against(good(), &[&words[..], &["--veto", "--json"]].concat()).await;
    let answer: ForgottenAnswer = serde_json::from_str(&out).unwrap();
    assert!(answer.forgot == "veto" && answer.was.vetoed);
    let (code, out, err) = run_against(good(), &["forget", "bob@contoso.com", "no@partner.example"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("there is no contact between bob@contoso.com and no@partner.example; "), "{err}");
    let (code, _, err) = run_against(good(), &["forget", "eve@partner.example", "bob@contoso.com"]).await;
    assert!(code == 1 && err.contains("eve@partner.example is no local user"), "{err}");
    let (code, _, err) = run_against(good(), &["forget", "bob@contoso.com", "eve@partner.example/x"]).await;
    assert!(code == 2 && err.contains("has a resource"), "{err}");
}

#[tokio::test]
async fn moves_tell_how_they_went() {
    let words = ["move", "alice@contoso.com", "bob@contoso.com", "--to", "sfb2019"];
    let (code, out, _) = run_against(good(), &words).await;
    assert_eq!((code, out.as_str()), (0, "2 moved to sfb2019, their stanzas held for 4 ms\n"));
    let late = Ok(MovedAnswer { users: 2, in_time: false, held_millis: 5000, remembered: false });
    let (code, out, _) = run_against(late, &words).await;
    assert!(code == 0 && out.contains("not all that was under way had arrived"), "{out}");
    let (code, _, err) = run_against(Err("the overlay is full".to_owned()), &words).await;
    assert_eq!((code, err.as_str()), (1, "the overlay is full; nothing was changed\n"));
    let (code, _, err) = run_against(good(), &["move", "alice@contoso.com", "--to", "nowhere"]).await;
    assert!(code == 1 && err.contains("configured are: legacy, sfb2019"), "{err}");
    let (code, _, err) = run_against(good(), &["move", "--file", "there/is/none", "--to", "legacy"]).await;
    assert!(code == 2 && err.starts_with("there/is/none: "), "{err}");
}

#[tokio::test]
async fn a_file_is_moved_in_batches() {
    let file = std::env::temp_dir().join(format!("turnout-batches-{}", std::process::id()));
    std::fs::write(&file, "\u{feff}# who moves\nalice@contoso.com\n\n bob@contoso.com\nlost@contoso.com\n")
        .unwrap();
    let path = file.to_str().unwrap();
    let one = Ok(MovedAnswer { users: 1, in_time: true, held_millis: 4, remembered: true });
    let words = ["move", "--to", "legacy", "--file", path, "--batch", "2"];
    let (code, out, err) = run_against(one.clone(), &words).await;
    let said = "2 moved to legacy, 1 were there already, their stanzas held for 4 ms at most\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, said, ""));
    let (code, out, _) = run_against(one, &[&words[..], &["--json"]].concat()).await;
    let job: MoveJob = serde_json::from_str(&out).unwrap();
    let told = (job.state.as_str(), job.total, job.done, job.moved, job.remembered);
    assert_eq!((code, told), (0, ("done", 3, 3, 2, true)));
    let late = Ok(MovedAnswer { users: 2, in_time: false, held_millis: 5000, remembered: false });
    let (_, out, _) = run_against(late, &words).await;
    assert!(out.contains("in 2 batches not all") && out.contains("a restart forgets this"), "{out}");
    let (code, out, err) = run_against(Err("the overlay is full".to_owned()), &words).await;
    assert!(code == 1 && out.starts_with("0 moved"), "{out}");
    assert!(
        err.starts_with("ended after 0 of 3 users: the overlay is full; who was moved stays moved"),
        "{err}"
    );
    std::fs::write(&file, "alice@contoso.com\nnobody@contoso.com\n").unwrap();
    let (code, out, err) = run_against(good(), &words).await;
    assert_eq!((code, out.as_str()), (1, ""), "nobody is moved where one is not known: {err}");
    std::fs::write(&file, "# nobody\n").unwrap();
    assert_eq!(run_against(good(), &words).await.0, 2);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn users_stand_in_a_table_on_a_terminal_and_on_lines_elsewhere() {
    let user = |name: &str, home: Option<&str>| UserAnswer {
        user: format!("{name}@contoso.com"),
        home: home.map(str::to_owned),
        enabled: true,
        federation_enabled: true,
        ..UserAnswer::default()
    };
    let users = [user("alice", Some("legacy")), user("a-name-that-is-far-too-long-for-it", None)];
    let text = |columns| {
        let mut out = Vec::new();
        show_page(&users, columns, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(text(None).lines().count(), 2, "{}", text(None));
    let table = text(Some(44));
    assert!(
        table.trim_start().starts_with("user ") && table.contains("remarks") && table.contains("no XMPP"),
        "{table}"
    );
    assert!(table.lines().all(|line| line.chars().count() <= 44), "{table}");
}

#[tokio::test]
async fn a_router_that_is_not_there_is_a_finding() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (code, out, err) = run_at(&address, &["list"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(&address) && err.contains("is the router running"), "{err}");
}

#[test]
fn arguments_are_checked() {
    for words in [
        &["move", "a@b"][..],
        &["move", "--to", "x"],
        &["move", "a@b", "--file", "f", "--to", "x"],
        &["move", "a@b", "--batch", "5", "--to", "x"],
        &["move", "--file", "f", "--batch", "0", "--to", "x"],
        &["show"],
        &["forget", "a@b"],
        &[],
    ] {
        assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
    }
    assert_eq!(parse(&["list"]).unwrap().place().unwrap().address, "127.0.0.1:9280");
    let place = parse(&["--admin", "https://[::1]:9280/", "list"]).unwrap().place().unwrap();
    assert_eq!((place.address.as_str(), place.tls), ("[::1]:9280", true));
    assert!(
        parse(&["--config", "no/such/file.toml", "list"])
            .unwrap()
            .place()
            .unwrap_err()
            .contains("no/such/file.toml")
    );
}

#[test]
fn paths_are_encoded() {
    assert_eq!(encode("a/b?c@d.e ü%"), "a%2Fb%3Fc%40d.e%20%C3%BC%25");
}
