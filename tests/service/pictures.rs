//! Pictures of the terminal in docs/terminal: what the program prints, on a terminal of 100 columns, drawn as SVG. A picture that is not what
//! the program prints fails; `PICTURES=write` draws it anew.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::estate::{Ground, Plan};
use crate::rehearsal::Stage;

const COLUMNS: usize = 100;

/// What a command prints on a terminal, with its colours. `script` makes the terminal.
fn printed(folder: &Path, command: &str) -> String {
    let line = format!("stty cols {COLUMNS} rows 50; {} {command}", env!("CARGO_BIN_EXE_turnout"));
    let output = Command::new("script")
        .args(["--quiet", "--echo", "never", "--command", &line, "/dev/null"])
        .current_dir(folder)
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .output()
        .expect("script is in the package bsdutils");
    String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
}

/// A digit's neighbours are no digits.
fn replace_number(text: &str, number: u16, with: &str) -> String {
    text.replace(&format!(":{number}"), with)
}

/// Takes out what differs from run to run: times and ports.
fn steady(text: &str, ground: &Ground) -> String {
    let mut text = replace_number(text, ground.partner.address.port(), ":5269");
    text = replace_number(&text, ground.gateway.address.port(), ":5269");
    text = replace_number(&text, ground.pool.address.port(), ":5061");
    let mut steady = String::new();
    for line in text.lines() {
        let line = match line.rsplit_once(" (") {
            Some((before, millis)) if millis.ends_with(" ms)") => format!("{before} (1 ms)"),
            _ => line.to_owned(),
        };
        steady.push_str(&line);
        steady.push('\n');
    }
    for days in 390..400 {
        steady = steady.replace(&format!("good for {days} days"), "good for 396 days");
    }
    steady
}

/// Pieces of one row, each with its colour.
type Row = Vec<(Option<&'static str>, String)>;

/// Rows as the terminal shows them: colours (SGR 2, 31, 32, 33) taken apart, lines broken at its edge.
fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut class = None;
    for line in text.trim_end().lines() {
        let (mut row, mut column): (Row, usize) = (Vec::new(), 0);
        for (at, piece) in line.split("\x1b[").enumerate() {
            let shown = match (at, piece.split_once('m')) {
                (0, _) | (_, None) => piece,
                (_, Some((code, rest))) => {
                    class = match code {
                        "32" => Some("g"),
                        "31" => Some("r"),
                        "33" => Some("y"),
                        "2" => Some("d"),
                        "0" => None,
                        other => panic!("an unknown colour {other:?} in {line:?}"),
                    };
                    rest
                }
            };
            for c in shown.chars() {
                if column == COLUMNS {
                    rows.push(std::mem::take(&mut row));
                    column = 0;
                }
                column += 1;
                match row.last_mut() {
                    Some((of, text)) if *of == class => text.push(c),
                    _ => row.push((class, c.to_string())),
                }
            }
        }
        rows.push(row);
    }
    rows
}

/// Draws what a command printed as SVG.
fn drawn(command: &str, text: &str) -> String {
    let rows = rows(&format!("\x1b[2m$ turnout {command}\x1b[0m\n{text}"));
    let (width, height) = (COLUMNS * 8 + 20, 17 * rows.len() + 24);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"turnout {command}\">\n<style>text{{font:13px ui-monospace,monospace;white-space:pre;fill:#ddd}}.g{{fill:#6c6}}.r{{fill:#f77}}\
         .y{{fill:#fc6}}.d{{fill:#888}}</style>\n<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1c1c1c\"/>\n"
    );
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for (number, row) in rows.iter().enumerate() {
        svg.push_str(&format!("<text x=\"10\" y=\"{}\">", 24 + 17 * number));
        for (class, piece) in row {
            match class {
                Some(class) => svg.push_str(&format!("<tspan class=\"{class}\">{}</tspan>", escape(piece))),
                None => svg.push_str(&escape(piece)),
            }
        }
        svg.push_str("</text>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn check(name: &str, command: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/terminal").join(format!("{name}.svg"));
    let picture = drawn(command, text);
    if std::env::var_os("PICTURES").is_some_and(|wish| wish == "write") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &picture).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == picture,
        "{} is not what turnout {command} prints (PICTURES=write draws it anew):\n{text}",
        file.display()
    );
}

#[test]
fn pictures_are_what_is_printed() {
    let stage = Stage::new();
    let folder = stage.ground.folder.path();
    let command = "rehearse --config turnout.toml --users u.csv --policies policies.csv --partners partners.csv --gateway gateway.csv";
    let text = steady(&printed(folder, command), &stage.ground);
    // Tables fit the terminal; sentences are broken by it.
    let table =
        |line: &&str| ["loses-", "partner.example "].iter().any(|of| line.trim_start().starts_with(of));
    assert!(text.lines().filter(table).count() >= 5, "{text}");
    assert!(text.lines().filter(table).all(|line| line.chars().count() <= COLUMNS), "{text}");
    check("rehearse", command, &text);

    let plan = Plan::default();
    let ground = Ground::new(&plan);
    ground.configure(&plan);
    let folder = ground.folder.path();
    let command = "probe partner.example --config turnout.toml";
    check("probe", command, &steady(&printed(folder, command), &ground));

    let file = ground.folder.path().join("turnout.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let wrong =
        text.replacen("listen_tls", "lisen_tls", 1).replacen("type = \"federated\"", "type = \"friends\"", 1);
    std::fs::write(&file, wrong.replacen("key = \"contoso.com.key\"", "key = \"contoso.key\"", 1)).unwrap();
    let command = "check --config turnout.toml";
    check("check", command, &steady(&printed(folder, command), &ground));
}
