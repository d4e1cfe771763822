//! `Get-CsXmppGatewayConfiguration` to `[federation]` and `[presence]`.

use std::io::Read;

use super::{Imported, Weight};
use crate::exports::{self, ExportError, Record};

/// A setting that is a number: the cmdlet's name, ours, the least and the greatest that can be configured, and the default of both.
struct Figure {
    property: &'static str,
    key: &'static str,
    least: u64,
    most: u64,
    default: u64,
}

const fn figure(property: &'static str, key: &'static str, least: u64, most: u64, default: u64) -> Figure {
    Figure { property, key, least, most, default }
}

const CONNECTIONS: usize = 0;
const PER_PARTNER: usize = 1;
const IDLE: usize = 3;
const KEEP_ALIVE: usize = 4;

const FIGURES: [Figure; 6] = [
    figure("ConnectionLimit", "connections_max", 1, 1_000_000, 1000),
    figure("PartnerConnectionLimit", "connections_per_partner_max", 1, 1_000_000, 20),
    figure("StreamEstablishmentTimeout", "establishment_seconds", 1, 3600, 60),
    figure("StreamInactivityTimeout", "idle_seconds", 10, 604_800, 600),
    figure("KeepAliveInterval", "keep_alive_seconds", 5, 604_800, 300),
    figure("SubscriptionRefreshInterval", "subscription_seconds", 60, 604_800, 28_800),
];

/// Where the keys of `[federation]` end and those of `[presence]` begin.
const PRESENCE: usize = 5;

/// Makes keys of `[federation]` and `[presence]` of an export.
///
/// # Errors
/// The file cannot be read, or has more than the one object there is.
pub fn gateway(source: impl Read, name: &str) -> Result<Imported, ExportError> {
    let mut found: Option<Record> = None;
    let format = exports::read(source, &mut |record| {
        match found.replace(record) {
        None => Ok(()),
        Some(_) => Err(std::io::Error::other(
            "there is more than one object; of Get-CsXmppGatewayConfiguration there is one: is this another cmdlet's export?",
        )
        .into()),
    }
    })?;
    let mut made = Imported::default();
    made.comment(format!("Settings of the legacy gateway, out of {name} ({format})."));
    made.comment(
        "Where your configuration has one of these tables already, move the lines below its header into it:",
    );
    made.comment("TOML has a table once only.");
    match found {
        Some(record) if FIGURES.iter().any(|figure| record.has(figure.property)) => {
            settings(&record, &mut made)
        }
        _ => made.finding(
            Weight::Error,
            "",
            "none of the settings of Get-CsXmppGatewayConfiguration is in the file",
        ),
    }
    Ok(made)
}

fn settings(record: &Record, made: &mut Imported) {
    made.taken = 1;
    made.line("[federation]");
    let place = record.place.clone();
    let mut values: [Option<u64>; FIGURES.len()] = [None; FIGURES.len()];
    for (figure, value) in FIGURES.iter().zip(&mut values) {
        match record.number(figure.property) {
            Ok(Some(number)) if (figure.least..=figure.most).contains(&number) => *value = Some(number),
            Ok(Some(number)) => {
                let Figure { property, key, least, most, .. } = figure;
                let what =
                    format!("{property} {number}: {key} has to be from {least} to {most}; its default stays");
                made.finding(Weight::Error, &place, what);
            }
            Ok(None) => made.finding(Weight::Note, &place, format!("the export has no {}", figure.property)),
            Err(why) => made.finding(Weight::Error, &place, why),
        }
    }
    fit(&mut values, &place, made);
    lines(FIGURES.iter().zip(values).take(PRESENCE), made);
    secrets(record, &place, made);
    made.line("");
    made.line("[presence]");
    lines(FIGURES.iter().zip(values).skip(PRESENCE), made);
}

fn lines<'a>(figures: impl Iterator<Item = (&'a Figure, Option<u64>)>, made: &mut Imported) {
    for (figure, value) in figures {
        if let Some(number) = value {
            made.line(format!("{} = {number}", figure.key));
        }
    }
}

/// Takes out what would be refused together, because the legacy gateway allows what cannot work.
fn fit(values: &mut [Option<u64>; FIGURES.len()], place: &str, made: &mut Imported) {
    let or_default =
        |at: usize, values: &[Option<u64>; FIGURES.len()]| values[at].unwrap_or(FIGURES[at].default);
    let (all, each) = (or_default(CONNECTIONS, values), or_default(PER_PARTNER, values));
    if each > all {
        let what = format!(
            "PartnerConnectionLimit {each} is above ConnectionLimit {all}; neither is taken, set both by hand"
        );
        made.finding(Weight::Error, place, what);
        (values[CONNECTIONS], values[PER_PARTNER]) = (None, None);
    }
    let (idle, keep_alive) = (or_default(IDLE, values), or_default(KEEP_ALIVE, values));
    if keep_alive >= idle {
        let what = format!(
            "KeepAliveInterval {keep_alive} is not below StreamInactivityTimeout {idle}, so a stream would be cut before its keep-alive \
             is due; neither is taken, set both by hand"
        );
        made.finding(Weight::Error, place, what);
        (values[IDLE], values[KEEP_ALIVE]) = (None, None);
    }
}

/// What has no key here, and why. The passphrase is not repeated anywhere.
fn secrets(record: &Record, place: &str, made: &mut Imported) {
    match record.text("DialbackPassphrase") {
        Ok(None) => {}
        Ok(Some(_)) | Err(_) => made.finding(
            Weight::Note,
            place,
            "DialbackPassphrase: not carried over and not needed. turnout makes dialback keys of its own and answers for them; only several \
             instances behind one name need a common secret, dialback_secret_file (openssl rand -hex 32)",
        ),
    }
    match record.flag("EnableLoggingAllMessageBodies") {
        Ok(None | Some(false)) => {}
        Ok(Some(true)) => made.finding(
            Weight::Error,
            place,
            "EnableLoggingAllMessageBodies True: not carried over, as it writes what people say to the log; set engine.log_message_bodies = true \
             if that is still wanted. If the law wants messages kept, archive them in the pools",
        ),
        Err(why) => made.finding(Weight::Error, place, why),
    }
}
