//! `turnout completions` and `turnout man`: made out of the command line itself, so that they cannot differ from it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, fail, finish};

/// Of `turnout completions`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 printed, 1 not, 2 wrong usage

Examples:
  turnout completions bash > /usr/share/bash-completion/completions/turnout
  turnout completions powershell >> $PROFILE")]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: Shell,
}

/// Of `turnout man`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 printed or written, 1 not, 2 wrong usage

Examples:
  turnout man | man -l -
  turnout man /usr/share/man/man1")]
pub struct ManArgs {
    /// Directory to write a page for each command to; without it the first page goes to standard output
    pub dir: Option<PathBuf>,
}

/// `turnout completions`.
pub fn run_completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "turnout", &mut script);
    finish(false, &(), |out, _| out.write_all(&script), true)
}

/// `turnout man`.
pub fn run_man(args: &ManArgs) -> ExitCode {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        return match clap_mangen::Man::new(command).render(&mut page) {
            Ok(()) => finish(false, &(), |out, _| out.write_all(&page), true),
            Err(error) => fail(false, &error.to_string()),
        };
    };
    let mut written = Vec::new();
    let result = fs::create_dir_all(dir).and_then(|()| pages(&command, "turnout", dir, &mut written));
    match result {
        Ok(()) => {
            let print = |out: &mut dyn Write, _: bool| {
                written.iter().try_for_each(|path: &PathBuf| writeln!(out, "{}", path.display()))
            };
            finish(false, &(), print, true)
        }
        Err(error) => fail(false, &format!("{}: {error}", dir.display())),
    }
}

/// A page for a command and for each below it.
fn pages(command: &Command, name: &str, dir: &Path, written: &mut Vec<PathBuf>) -> io::Result<()> {
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut page)?;
    fs::write(&path, page)?;
    written.push(path);
    for below in command.get_subcommands() {
        pages(below, &format!("{name}-{}", below.get_name()), dir, written)?;
    }
    Ok(())
}
