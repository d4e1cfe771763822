//! `turnout check --connect`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use serde::Serialize;

use super::probe::{end_of, show};
use super::{CheckArgs, Checked, fail, finish, load};
use crate::probe::Step;
use crate::probe::inside::{Inside, inside};

/// The result, as JSON has it: that of `check`, and what was found over the network.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    checked: &'a Checked,
    /// Absent where the configuration cannot be used.
    connect: Option<&'a Inside>,
}

/// Looks over the network, where the configuration can be used.
pub(super) fn run(args: &CheckArgs, checked: &Checked, now: SystemTime) -> ExitCode {
    let loaded = load(args.config.as_deref(), now);
    let (Ok(loaded), true) = (loaded, checked.good) else {
        let told = Told { checked, connect: None };
        return finish(args.json, &told, |out, colour| checked.print(out, colour), false);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(args.json, &format!("no runtime: {error}")),
    };
    let json = args.json;
    let mut tell = |step: &Step| {
        if !json {
            // That nobody reads any more shows again at the end.
            drop(show(step));
        }
    };
    match runtime.block_on(inside(&loaded.config, now, &mut tell)) {
        Ok(found) => {
            let checked = &Checked { good: found.good, ..checked.clone() };
            let told = Told { checked, connect: Some(&found) };
            let print = |out: &mut dyn Write, colour: bool| -> io::Result<()> {
                writeln!(out)?;
                checked.print(out, colour)?;
                end_of(&found.diagnosis, found.good, out, colour)
            };
            finish(json, &told, print, found.good)
        }
        Err(what) => fail(json, &what),
    }
}
