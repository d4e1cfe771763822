use std::time::Duration;

use clap::CommandFactory;

use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
}

/// What `turnout explain` says with the embedded default, as decision and destination.
fn explained(line: &str) -> (String, String) {
    let Command::Explain(args) = parse(&format!("turnout explain {line}")).unwrap() else {
        panic!("not explain")
    };
    let explained = explain(&args, now()).unwrap();
    assert!(!explained.steps.is_empty());
    (explained.decision.to_owned(), explained.destination)
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
    assert!(matches!(parse("turnout run --config x.toml"), Ok(Command::Run(args)) if args.config.is_some()));
    assert!(matches!(parse("turnout demo --seconds 20 --rate 5000 --json"), Ok(Command::Demo(args))
        if args.rate == 5000 && args.seconds == Some(20) && args.json));
    assert!(
        matches!(parse("turnout user move --to sfb2019 a@x b@x --json"), Ok(Command::User(args)) if args.json)
    );
    for wrong in
        ["turnout", "turnout demo --rate 0", "turnout explain a@b", "turnout fly", "turnout user move a@b"]
    {
        assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn explain_answers_like_the_router() {
    let check = |line: &str, decision: &str, destination: &str| {
        assert_eq!(explained(line), (decision.to_owned(), destination.to_owned()), "{line}");
    };
    check("p@partner.example anna@contoso.com", "home", "legacy");
    check("p@partner.example/x Carla@contoso.com/y --kind presence --type subscribe", "home", "sfb2019");
    check("p@partner.example nobody@contoso.com", "refused", "service-unavailable");
    check("p@partner.example contoso.com --kind iq", "own", "turnout");
    check("p@stranger.example anna@contoso.com", "refused", "forbidden");
    check("carla@contoso.com p@partner.example", "partner", "partner.example");
    check("carla@contoso.com p@partner.example --via legacy", "refused", "not-allowed");
}

#[test]
fn wrong_questions_are_usage_errors() {
    let check = |line: &str| {
        let Ok(Command::Explain(args)) = parse(&format!("turnout explain {line}")) else { panic!("{line}") };
        assert!(matches!(explain(&args, now()), Err(CannotExplain::Usage(_))), "{line}");
    };
    check("@ anna@contoso.com");
    check("p@partner.example anna@contoso.com --kind iq --type chat");
    check("p@partner.example anna@contoso.com --via nowhere");
}

#[test]
fn the_embedded_default_is_good() {
    let checked = check(None, now());
    assert!(checked.good, "{:?}", checked.findings);
    assert_eq!(checked.findings, []);
    let summary = checked.summary.clone().unwrap();
    assert_eq!((summary.users, summary.users_without_home), (3, 0));
    assert_eq!(summary.homes, [("legacy".to_owned(), 2), ("sfb2019".to_owned(), 1)]);
    let mut text = Vec::new();
    checked.print(&mut text, false).unwrap();
    assert!(String::from_utf8(text).unwrap().ends_with("\ngood\n"));
}

#[test]
fn check_finds_what_is_wrong_outside_the_file() {
    let trial = Trial::new(now()).unwrap();
    let path = trial.path().join("turnout.toml");
    let swapped = crate::config::EMBEDDED.replace("contoso.com.pem", "pool2019.contoso.com.pem");
    std::fs::write(
        &path,
        swapped.replace("contoso.com.key", "pool2019.contoso.com.key").replace("turnout.pool2019", "turnout"),
    )
    .unwrap();
    std::fs::write(
        trial.path().join("users.csv"),
        "SipAddress,RegistrarPool\nsip:a@contoso.com,else.contoso.com\n",
    )
    .unwrap();
    let expect = |at: SystemTime, severity: Severity, part: &str| {
        let checked = check(Some(&path), at);
        let found =
            checked.findings.iter().any(|f| f.severity == severity && f.mistake.to_string().contains(part));
        assert!(found, "{part:?} in {:?}", checked.findings);
        assert_eq!(checked.good, !checked.findings.iter().any(|f| f.severity == Severity::Error));
    };
    let days = |count: u64| now() + Duration::from_secs(count * 86_400);
    expect(now(), Severity::Error, "does not name contoso.com");
    expect(now(), Severity::Warning, "1 user(s) live on \"else.contoso.com\"");
    expect(days(380), Severity::Warning, "turnout.contoso.com.pem expires in 17 days");
    expect(days(400), Severity::Error, "turnout.contoso.com.pem has expired");
    expect(now() - Duration::from_secs(10 * 86_400), Severity::Error, "not valid yet");
    let key = trial.path().join("turnout.contoso.com.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o604)).unwrap();
    expect(now(), Severity::Warning, "turnout.contoso.com.key can be read");
    std::fs::write(&path, "domains = [").unwrap();
    let checked = check(Some(&path), now());
    assert!(!checked.good && checked.summary.is_none());
    let json = serde_json::to_value(&checked).unwrap();
    assert_eq!(json["findings"][0]["severity"], "error");
    assert_eq!(json["findings"][0]["line"], 1);
}

/// Every command line in the documentation is one.
#[test]
fn documents_name_commands_that_exist() {
    let documents = [
        ("migrating", include_str!("../../../docs/migrating.md")),
        ("operating", include_str!("../../../docs/operating.md")),
        ("README", include_str!("../../../README.md")),
    ];
    let mut seen = 0;
    for (name, text) in documents {
        let blocks = text.lines().filter_map(|line| line.strip_prefix("    turnout "));
        let quoted = text.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("turnout "));
        let all = blocks.map(|command| (command, false)).chain(quoted.map(|command| (command, true)));
        for (command, mentioned) in all {
            let command = command.split(" && ").next().unwrap().split("  #").next().unwrap().trim();
            // Forms and bare names are no examples.
            if command.contains(['[', '|', '…'])
                || !command.contains(' ')
                || command == "is up"
                || command.ends_with("SHELL")
            {
                continue;
            }
            seen += 1;
            let parsed = parse(&format!("turnout {command}"));
            // In running text a command may be named without what it needs.
            let bare = |error: &clap::Error| {
                mentioned && error.kind() == clap::error::ErrorKind::MissingRequiredArgument
            };
            assert!(parsed.is_ok() || parsed.as_ref().is_err_and(bare), "{name}: turnout {command}");
        }
    }
    assert!(seen > 20, "only {seen} commands found");
}

#[test]
fn colours_are_given_only_where_asked() {
    assert_eq!(painted("good", GREEN, false), "good");
    assert_eq!(painted("good", GREEN, true), "\x1b[32mgood\x1b[0m");
}

/// Commands whose result is no answer but a service, a script or pages, and so has no form in JSON.
const NO_JSON: [&str; 3] = ["turnout run", "turnout completions", "turnout man"];

/// Every command that can be given, with its name and itself.
fn leaves(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
    let mut below = command.get_subcommands().peekable();
    if below.peek().is_none() {
        found.push((name.to_owned(), command.clone()));
    }
    below.for_each(|below| leaves(below, &format!("{name} {}", below.get_name()), found));
}

#[test]
fn every_command_has_examples_exit_codes_and_json() {
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    leaves(&command, "turnout", &mut found);
    assert!(found.len() >= 18, "{found:?}");
    for (name, command) in &mut found {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Exit codes: 0 "), "{name} does not say how it ends:\n{help}");
        let examples =
            help.split("Examples:").nth(1).unwrap_or_else(|| panic!("{name} has no examples:\n{help}"));
        let examples: Vec<&str> =
            examples.lines().map(str::trim).filter(|line| line.starts_with("turnout ")).collect();
        assert!(
            examples.iter().any(|line| line.starts_with(name.as_str())),
            "{name} has none of its own: {examples:?}"
        );
        for example in examples {
            let words = example.split(['|', '>', '<']).next().unwrap();
            // A name in a line that a person types.
            let parsed = parse(words);
            assert!(parsed.is_ok(), "{name}: {example}: {}", parsed.unwrap_err());
        }
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let (id, help) = (argument.get_id(), argument.get_help());
            assert!(help.is_some_and(|help| !help.to_string().is_empty()), "{name}: {id} is not explained");
        }
        let has_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        assert_eq!(has_json, !NO_JSON.contains(&name.as_str()), "{name}: --json");
    }
    let readme = include_str!("../../../README.md");
    for command in command.get_subcommands() {
        let name = command.get_name();
        assert!(readme.contains(&format!("`turnout {name} ")), "the README does not name turnout {name}");
    }
    // A command with others below it says at least how it ends.
    for name in ["user", "import", "export"] {
        let help = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        assert!(help.contains("Exit codes: 0 ") && help.contains("Examples:"), "{name}:\n{help}");
    }
}

#[test]
fn what_is_misspelt_is_suggested() {
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    leaves(&command, "turnout", &mut found);
    for (name, command) in &found {
        // A letter is missing in the command itself...
        let (before, last) = name.rsplit_once(' ').unwrap();
        let error = parse(&format!("{before} {}", &last[..last.len() - 1])).unwrap_err();
        assert!(
            error.exit_code() == 2 && error.to_string().contains(&format!("'{last}'")),
            "{name}: {error}"
        );
        // ...and in its longest option.
        let longest =
            command.get_arguments().filter_map(|argument| argument.get_long()).max_by_key(|long| long.len());
        let Some(long) = longest.filter(|long| long.len() > 4) else { continue };
        let error = parse(&format!("{name} --{}", &long[..long.len() - 1])).unwrap_err();
        assert!(
            error.exit_code() == 2 && error.to_string().contains(&format!("--{long}")),
            "{name}: {error}"
        );
    }
}
