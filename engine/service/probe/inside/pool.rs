//! A node of a pool: mutual TLS, the certificate, and whether it answers OPTIONS.

use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use tokio::net::TcpStream;
use turnout_core::home::HomeId;
use turnout_core::io::{ClientTls, Identity};
use turnout_core::world::SipHome;
use turnout_sip::probe::{Answered, Probe, vouch};

use super::super::line::Line;
use super::{Look, Outcome};
use crate::clock;
use crate::config::HomeConfig;
use crate::resolve::system_random;

/// A clock may differ from the pool's by so much.
const SKEW_SECONDS: u64 = 300;

/// Talks to one node: as it is told, and as its certificate is judged.
pub(super) async fn talk(
    look: &mut Look<'_, '_>,
    (id, home): (HomeId, &HomeConfig),
    (about, host): (String, String),
    stream: TcpStream,
) {
    let since = clock::now();
    // Nothing of the secret is needed here.
    let world = look.config.world(1, Arc::from([0_u8; 32].as_slice()));
    let settings = match world {
        Ok(world) => world.sip.get(&id).cloned(),
        Err(errors) => return look.steps.add("tls", &about, Outcome::Bad, errors.to_string(), since),
    };
    let Some(settings) = settings else { return };
    let mut line = Line::new(stream);
    if settings.tls && !secure(look, &mut line, (id, &settings), (&about, &host)).await {
        return;
    }
    options(look, &mut line, &settings, (&home.name, &about, &host)).await;
    line.finish().await;
}

/// The handshake, and the certificate.
async fn secure(
    look: &mut Look<'_, '_>,
    line: &mut Line,
    (id, settings): (HomeId, &SipHome),
    (about, host): (&str, &str),
) -> bool {
    let since = clock::now();
    let tls = ClientTls {
        server_name: host.into(),
        trust: settings.trust,
        identity: Identity::Home(id),
        alpn_xmpp: false,
    };
    let done = match look.context.connect(&tls) {
        Ok(session) => line.secure(session).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = done {
        look.steps.add("tls", about, Outcome::Bad, &why, since);
        look.wrong(
            format!("{host} and we do not come to TLS: {why}"),
            "it speaks TLS 1.2 or 1.3? It trusts the authority of our certificate?",
        );
        return false;
    }
    let Some((secured, _)) = line.secured(look.now) else { return false };
    look.steps.add("tls", about, Outcome::Good, secured.version, since);
    match vouch(&secured, settings, &settings.trusted_names) {
        Ok(()) => {
            let names = secured.certificate.as_deref().map_or_else(String::new, |of| format!("{:?}", of.dns));
            look.steps.add("certificate", about, Outcome::Good, format!("is the pool's: {names}"), since);
            true
        }
        Err(why) => {
            look.steps.add("certificate", about, Outcome::Bad, &why, since);
            look.wrong(
                format!("{host} is not believed to be the pool: {why}"),
                "list the name in trusted_names of the home, or its authority in ca_file",
            );
            false
        }
    }
}

/// One OPTIONS.
async fn options(
    look: &mut Look<'_, '_>,
    line: &mut Line,
    settings: &SipHome,
    (home, about, host): (&str, &str, &str),
) {
    let since = clock::now();
    let mut probe = Probe::new(&format!("{:016x}", system_random()(u64::MAX)));
    let answered = match probe.options(settings, host) {
        Ok(request) => exchange(line, &mut probe, &request).await,
        Err(error) => Err(error.to_string()),
    };
    match answered {
        Ok(answered) => {
            let Answered { code, reason, .. } = &answered;
            let good = !matches!(code, 401 | 403 | 404 | 500..);
            let outcome = if good { Outcome::Good } else { Outcome::Bad };
            look.steps.add("options", about, outcome, format!("answered {code} {reason}"), since);
            if !good {
                look.wrong(
                    format!("home {home}: the pool does not serve us: {code} {reason}"),
                    format!("is {} a trusted application of it (turnout export powershell --part pool), and the topology enabled?", settings.our_name),
                );
            }
            date(look, about, &answered, since);
        }
        Err(why) => {
            look.steps.add("options", about, Outcome::Bad, &why, since);
            look.wrong(
                format!("home {home}: {host} does not answer OPTIONS: {why}"),
                format!("does it take {} for a trusted application, and our certificate's authority for one it trusts?", settings.our_name),
            );
        }
    }
}

async fn exchange(line: &mut Line, probe: &mut Probe, request: &[u8]) -> Result<Answered, String> {
    line.send(request).await?;
    loop {
        let Some(bytes) = line.receive().await? else {
            return Err("it closed the connection without an answer".to_owned());
        };
        if let Some(answered) = probe.receive(bytes)? {
            return Ok(answered);
        }
    }
}

/// Whether the pool's clock and ours agree, where it says what its clock says.
fn date(look: &mut Look<'_, '_>, about: &str, answered: &Answered, since: Instant) {
    let Some(theirs) = answered.date.as_deref().and_then(unix) else { return };
    let ours = look.now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let apart = ours.abs_diff(theirs);
    if apart <= SKEW_SECONDS {
        look.steps.add("clock", about, Outcome::Good, format!("{apart} s from ours"), since);
        return;
    }
    let text = format!("{} s {} ours", apart, if theirs > ours { "ahead of" } else { "behind" });
    look.steps.add("clock", about, Outcome::Bad, text, since);
    look.wrong(
        "the pool's clock and ours differ",
        "let both be set by one source of time: certificates depend on it",
    );
}

/// `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §20.17) as seconds since 1970.
fn unix(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = date.split_once(", ")?.1.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut time = parts.next()?.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if parts.next() != Some("GMT") || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from the civil calendar; the year begins in March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::unix;

    #[test]
    fn dates_are_read_or_not() {
        assert_eq!(unix("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix("Sat, 13 Nov 2010 23:29:00 GMT"), Some(1_289_690_940));
        assert_eq!(unix("Thu, 29 Feb 2024 12:00:01 GMT"), Some(1_709_208_001));
        for bad in [
            "",
            "now",
            "Sat, 13 Nov 2010 23:29:00",
            "Sat, 13 Nox 2010 23:29:00 GMT",
            "Sat, 13 Nov 2010 24:29:00 GMT",
            "Sat, 0 Nov 0 0:0 GMT",
        ] {
            assert_eq!(unix(bad), None, "{bad}");
        }
    }
}
