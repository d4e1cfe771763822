//! Users out of a file, moved in batches by the router. Invariant: the router does it, and goes on when nobody watches; what is told at the
//! end is what it says of it.

use std::io::{BufRead, Write};
use std::time::Duration;

use turnout_core::limits::MOVE_USERS_MAX;

use super::super::http::Client;
use super::{FORGOTTEN, Stop, fit, print};
use crate::admin::answers::Problem;
use crate::admin::views::{MoveJob, MoveJobRequest};
use crate::commands::http::Fault;
use crate::log::escape;
use crate::progress::Bar;

/// How often the router is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Moves who stands in a file.
pub(super) async fn relocate(
    client: &Client,
    file: &str,
    home: &str,
    batch: Option<u32>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let users = read(file).map_err(|error| Stop::Usage(format!("{file}: {error}")))?;
    fit(&users)?;
    let request =
        MoveJobRequest { users: Some(users), home: home.to_owned(), batch, ..MoveJobRequest::default() };
    let mut job: MoveJob = client.post("/api/moves", &request).await?;
    let bar = Bar::of_things("moving", job.total, !json);
    while job.ended_unix_millis.is_none() {
        bar.set(job.done, || format!("to {}", escape(&job.home)));
        tokio::time::sleep(ASK_EVERY).await;
        job = client.get(&format!("/api/moves/{}", job.id)).await?;
    }
    drop(bar);
    if json {
        print(&job, out)?;
    } else {
        tell(&job, out)?;
    }
    if job.state == "done" {
        return Ok(());
    }
    let why = job.error.as_deref().map_or_else(|| job.state.clone(), escape);
    let error = format!("ended after {} of {} users: {why}", job.done, job.total);
    let hint = Some("who was moved stays moved; the same file may be given again".to_owned());
    Err(Stop::Fault(Fault { status: None, problem: Problem { error, hint } }))
}

fn tell(job: &MoveJob, out: &mut dyn Write) -> std::io::Result<()> {
    let MoveJob { moved, done, held_millis_max, late_batches, .. } = job;
    let there = match done.saturating_sub(*moved) {
        0 => String::new(),
        there => format!(", {there} were there already"),
    };
    let late = match late_batches {
        0 => String::new(),
        late => format!(
            "; in {late} batches not all that was under way had arrived: is the old side slow or down?"
        ),
    };
    let home = escape(&job.home);
    writeln!(
        out,
        "{moved} moved to {home}{there}, their stanzas held for {held_millis_max} ms at most{late}"
    )?;
    if !job.remembered && *moved > 0 {
        writeln!(out, "{FORGOTTEN}")?;
    }
    Ok(())
}

/// The addresses in a file; empty lines and lines that begin with # do not count.
fn read(file: &str) -> std::io::Result<Vec<String>> {
    let lines: Box<dyn BufRead> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(std::io::BufReader::new(std::fs::File::open(file)?)),
    };
    let mut users = Vec::new();
    // One more than can be moved is enough to say that there are too many.
    for line in lines.lines() {
        let line = line?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if !line.is_empty() && !line.starts_with('#') {
            users.push(line.to_owned());
        }
        if users.len() > MOVE_USERS_MAX {
            break;
        }
    }
    Ok(users)
}
