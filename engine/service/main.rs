//! `turnout`: reads the command line and hands over.

use std::process::ExitCode;

use clap::Parser;
use turnout::cli::{self, Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let now = turnout::clock::system_time();
    match Cli::parse().command {
        Command::Run(args) => turnout::run::run(&args),
        Command::Demo(args) => turnout::run::run_demo(&args),
        Command::Check(args) => cli::run_check(&args, now),
        Command::Explain(args) => cli::run_explain(&args, now),
        Command::DevCerts(args) => cli::run_dev_certs(&args, now),
        Command::User(args) => turnout::run::run_user(&args),
        Command::Token(args) => cli::run_token(&args),
        Command::Probe(args) => cli::run_probe(&args, now),
        Command::Selftest(args) => turnout::run::run_selftest(&args),
        Command::Import(args) => cli::run_import(&args),
        Command::Rehearse(args) => cli::run_rehearse(&args, now),
        Command::Export(args) => cli::run_export(&args, now),
        Command::Completions(args) => cli::run_completions(&args),
        Command::Man(args) => cli::run_man(&args),
    }
}
