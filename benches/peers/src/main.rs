//! `turnout-load`: one job a call, one JSON object on standard output. Exit 1 and a line on standard error when a check failed.

use std::process::ExitCode;

use turnout_bench::args::Args;
use turnout_bench::{jobs, sys};

fn main() -> ExitCode {
    sys::raise_files(200_000);
    match Args::parse(std::env::args().skip(1)).and_then(|mut args| jobs::run(&mut args)) {
        Ok(json) => {
            println!("{}", json.finish());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("turnout-load: {why}");
            ExitCode::FAILURE
        }
    }
}
