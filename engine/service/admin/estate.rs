//! What the shards hold: partners and how they do, links, queues, dialogs, subscriptions; and our certificates. Invariant: each shard is
//! asked for a bounded page and answers from one moment; what several shards say is put together here and may be of several
//! moments.

#![expect(unused_qualifications, reason = "utoipa names the query's type with its path in what it makes")]

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use turnout_core::io::Side;
use turnout_core::jid::Domain;
use turnout_core::policy::{Partner, PartnerDefaults, Unlisted};
use turnout_core::survey::{LinkFact, OpenFact, PeerFact, QueueFact, SURVEY_MAX, Survey, Surveyed};
use turnout_core::world::World;
use utoipa::IntoParams;

use super::answers::{PartnerAnswer, PartnersAnswer, Problem};
use super::problem::Failure;
use super::rates::Counts;
use super::views::{
    CertificateAnswer, CertificatesAnswer, LinkAnswer, LinksAnswer, OpenAnswer, OpenRow, PartnerHealth,
    QueueAnswer, QueuesAnswer, Word,
};
use super::{App, Ask, Shared};

/// Rows on a page that asks for no number.
const PAGE: usize = 100;

/// Shards are told apart by the top bits of a place.
const SHARD_BITS: u32 = 64 - 10;

/// Empty pages looked through before one is given that says only where to go on.
const EMPTY_MAX: usize = 16;

/// What a list with a place may be asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `next_after` of the page before.
    #[param(pattern = "^[0-9]{1,20}$")]
    after: Option<String>,
    /// Most rows.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Wanted {
    fn page(&self) -> Result<(u64, usize), Failure> {
        let limit = self.limit.unwrap_or(PAGE);
        if limit == 0 || limit > SURVEY_MAX {
            let hint = format!("a page holds 1 to {SURVEY_MAX} rows; ask again with next_after as after");
            return Err(Failure::bad_request(format!("limit is {limit}"), hint));
        }
        let after = self.after.as_deref().map_or(Ok(0), str::parse);
        let after = after
            .map_err(|_| Failure::bad_request("after is no place", "give next_after of the page before"))?;
        Ok((after, limit))
    }
}

impl App {
    pub(super) async fn survey(&self, shard: u16, survey: Arc<Survey>) -> Result<Surveyed, Failure> {
        let answered = self.desk.ask(|done| Ask::Survey(shard, survey, done)).await?;
        answered.map_err(|error| Failure::unavailable(error, "look at /healthz, and ask again"))
    }

    /// Asks every shard; those that do not answer are `None`.
    async fn survey_all(&self, shards: u16, survey: Survey) -> Vec<Option<Surveyed>> {
        let survey = Arc::new(survey);
        let asked: Vec<_> = (0..shards)
            .map(|shard| {
                let (desk, survey) = (self.desk.clone(), Arc::clone(&survey));
                tokio::spawn(async move { desk.ask(|done| Ask::Survey(shard, survey, done)).await })
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.push(match answer.await {
                Ok(Ok(Ok(surveyed))) => Some(surveyed),
                _ => None,
            });
        }
        answers
    }
}

/// The partners, how they are to be met and how they do. With `unlisted = "allow"` those that are not listed and have streams too.
#[utoipa::path(get, path = "/api/partners", tag = "status", responses(
    (status = 200, body = PartnersAnswer), (status = 503, body = Problem)
))]
pub(super) async fn partners(State(app): Shared) -> Result<Json<PartnersAnswer>, Failure> {
    let look = app.desk.look().await?;
    let answers = app.survey_all(look.world.shards, Survey::Peers(SURVEY_MAX)).await;
    let complete = answers.iter().all(Option::is_some);
    let mut peers: BTreeMap<String, PeerFact> = BTreeMap::new();
    for answer in answers.into_iter().flatten() {
        let Surveyed::Peers(facts) = answer else { continue };
        for fact in facts {
            add(peers.entry(fact.domain.clone()).or_default(), &fact);
        }
    }
    let now = Counted {
        at_unix_millis: crate::clock::unix_millis(),
        counts: peers
            .iter()
            .map(|(domain, fact)| (domain.clone(), (fact.received, fact.delivered)))
            .collect(),
        complete,
    };
    let policy = &look.world.policy;
    let mut partners: Vec<PartnerAnswer> = policy
        .iter()
        .map(|(_, partner)| {
            let domains = std::iter::once(&partner.domain).chain(&partner.additional_domains);
            let names: Vec<&str> = domains.map(|domain| domain.as_str()).collect();
            describe(&app, partner, &names, &mut peers, &now)
        })
        .collect();
    let unlisted = match policy.unlisted() {
        Unlisted::Refuse => "refuse",
        Unlisted::Allow => "allow",
    };
    let known: Vec<String> = peers.keys().take(SURVEY_MAX).cloned().collect();
    for domain in known.iter().filter(|_| policy.unlisted() == Unlisted::Allow) {
        if let (Some(view), Ok(name)) = (policy.find(domain), Domain::parse(domain)) {
            let defaults = PartnerDefaults {
                kind: view.kind,
                tls: view.tls,
                sasl: view.sasl,
                dialback: view.methods.tls_dialback || view.methods.tcp_dialback,
                require_tls_for_dialback: !view.methods.tcp_dialback,
                keep_alive: view.keep_alive,
                bidi: view.bidi,
            };
            let partner = Partner::with_defaults(name, &defaults);
            partners.push(describe(&app, &partner, &[domain], &mut peers, &now));
        }
    }
    if complete {
        app.rates().take(now.at_unix_millis, now.counts);
    }
    Ok(Json(PartnersAnswer { unlisted: unlisted.to_owned(), partners }))
}

/// What was counted of the partners, and when.
struct Counted {
    at_unix_millis: u64,
    counts: Counts,
    /// Every shard has answered.
    complete: bool,
}

fn add(sum: &mut PeerFact, fact: &PeerFact) {
    sum.streams_in += fact.streams_in;
    sum.streams_out += fact.streams_out;
    sum.opening += fact.opening;
    sum.stanzas += fact.stanzas;
    sum.bytes += fact.bytes;
    sum.failures = sum.failures.max(fact.failures);
    sum.received += fact.received;
    sum.delivered += fact.delivered;
    let until = sum.certificate_until_unix.into_iter().chain(fact.certificate_until_unix);
    sum.certificate_until_unix = until.min();
}

fn describe(
    app: &App,
    partner: &Partner,
    names: &[&str],
    peers: &mut BTreeMap<String, PeerFact>,
    now: &Counted,
) -> PartnerAnswer {
    let mut sum = PeerFact::default();
    let mut health = PartnerHealth::default();
    let newer = |mine: &mut Option<Word>, theirs: Option<(u64, String)>| {
        if let Some((at_unix_millis, text)) = theirs
            && mine.as_ref().is_none_or(|mine| mine.at_unix_millis < at_unix_millis)
        {
            *mine = Some(Word { at_unix_millis, text });
        }
    };
    for name in names {
        if let Some(fact) = peers.remove(*name) {
            add(&mut sum, &fact);
        }
        let words = app.feed.about(Side::Partners, name);
        newer(&mut health.last_good, words.good);
        newer(&mut health.last_error, words.bad);
    }
    let at = |word: &Option<Word>| word.as_ref().map_or(0, |word| word.at_unix_millis);
    let is_open = sum.streams_in + sum.streams_out > 0;
    let state = match () {
        () if !now.complete => "unknown",
        () if sum.failures > 0 => "trouble",
        () if is_open => "good",
        () if at(&health.last_error) > at(&health.last_good) => "trouble",
        () if sum.opening > 0 => "connecting",
        () => "idle",
    };
    let rate = app.rates().of(now.at_unix_millis, names, &now.counts).filter(|_| now.complete);
    let today = i64::try_from(now.at_unix_millis / 1000).unwrap_or(i64::MAX);
    let days_left = |until: i64| (until - today).div_euclid(86_400);
    let health = PartnerHealth {
        received_per_second: rate.map(|rate| rate.received),
        delivered_per_second: rate.map(|rate| rate.delivered),
        certificate_until_unix: sum.certificate_until_unix,
        certificate_days_left: sum.certificate_until_unix.map(days_left),
        state: state.to_owned(),
        streams_in: sum.streams_in as u64,
        streams_out: sum.streams_out as u64,
        waiting: sum.stanzas as u64,
        waiting_bytes: sum.bytes as u64,
        failures: sum.failures,
        ..health
    };
    PartnerAnswer {
        domain: partner.domain.as_str().to_owned(),
        additional_domains: partner
            .additional_domains
            .iter()
            .map(|domain| domain.as_str().to_owned())
            .collect(),
        kind: partner.kind.as_str().to_owned(),
        tls: partner.tls.as_str().to_owned(),
        sasl: partner.sasl.as_str().to_owned(),
        dialback: partner.dialback,
        require_tls_for_dialback: partner.require_tls_for_dialback,
        proxy: partner.proxy.as_ref().map(ToString::to_string),
        health,
    }
}

/// Connections, and the streams on them.
#[utoipa::path(get, path = "/api/links", tag = "status", params(Wanted), responses(
    (status = 200, body = LinksAnswer), (status = 400, body = Problem), (status = 503, body = Problem)
))]
pub(super) async fn links(
    State(app): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<LinksAnswer>, Failure> {
    let (after, limit) = wanted?.0.page()?;
    let look = app.desk.look().await?;
    let first = u16::try_from(after >> 48).unwrap_or(u16::MAX);
    let mut answer = LinksAnswer::default();
    for shard in first..look.world.shards {
        let wanted = limit - answer.links.len();
        let survey = Survey::Links(if shard == first { after } else { 0 }, wanted);
        let Surveyed::Links(facts) = app.survey(shard, Arc::new(survey)).await? else { continue };
        let last = facts.last().map(|fact| fact.link.get());
        answer.links.extend(facts.iter().map(|fact| link(&look.world, fact)));
        if answer.links.len() >= limit {
            answer.next_after = last.map(|last| last.to_string());
            break;
        }
    }
    Ok(Json(answer))
}

fn link(world: &World, fact: &LinkFact) -> LinkAnswer {
    let stream = &fact.stream;
    LinkAnswer {
        link: fact.link.to_string(),
        side: world.side_name(fact.side).to_owned(),
        direction: if fact.link.is_accepted() { "in" } else { "out" }.to_owned(),
        ours: stream.ours.clone(),
        theirs: stream.theirs.clone(),
        state: stream.state.to_owned(),
        tls: stream.tls.to_owned(),
        proof: stream.proof.to_owned(),
        address: stream.address.clone(),
        issuer: crate::log::escape(&stream.issuer),
        certificate_until_unix: stream.certificate_until_unix,
        acknowledged: fact.acknowledged,
        resumed: stream.resumed,
        both_ways: stream.both_ways,
        received: fact.received,
        delivered: fact.delivered,
        stanzas: fact.stanzas as u64,
        unwritten_bytes: fact.octets,
        silent_seconds: stream.silent.map(|silent| silent.as_secs()),
    }
}

/// What waits for whom, and since when nobody could be reached: the spool, by destination.
#[utoipa::path(get, path = "/api/queues", tag = "status", responses(
    (status = 200, body = QueuesAnswer), (status = 503, body = Problem)
))]
pub(super) async fn queues(State(app): Shared) -> Result<Json<QueuesAnswer>, Failure> {
    let look = app.desk.look().await?;
    let answers = app.survey_all(look.world.shards, Survey::Queues(PAGE)).await;
    let mut queues = Vec::new();
    for (shard, answer) in (0_u16..).zip(answers) {
        if let Some(Surveyed::Queues(facts)) = answer {
            queues.extend(facts.iter().map(|fact| queue(&look.world, shard, fact)));
        }
    }
    queues.sort_by(|a: &QueueAnswer, b| {
        (std::cmp::Reverse(a.stanzas), &a.theirs, a.shard).cmp(&(
            std::cmp::Reverse(b.stanzas),
            &b.theirs,
            b.shard,
        ))
    });
    queues.truncate(SURVEY_MAX);
    let totals = look.totals();
    Ok(Json(QueuesAnswer { queues, held: totals.held, spool_bytes: totals.spooled_bytes }))
}

fn queue(world: &World, shard: u16, fact: &QueueFact) -> QueueAnswer {
    QueueAnswer {
        side: world.side_name(fact.side).to_owned(),
        shard,
        ours: fact.ours.clone(),
        theirs: fact.theirs.clone(),
        state: fact.state.to_owned(),
        stanzas: fact.stanzas as u64,
        bytes: fact.bytes as u64,
        failures: fact.failures,
        again_seconds: fact.again.map(|again| again.as_secs()),
    }
}

/// IM sessions of users of SIP homes.
#[utoipa::path(get, path = "/api/dialogs", tag = "status", params(Wanted), responses(
    (status = 200, body = OpenAnswer), (status = 400, body = Problem), (status = 503, body = Problem)
))]
pub(super) async fn dialogs(
    State(app): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<OpenAnswer>, Failure> {
    open(&app, &wanted?.0, |fact| fact.what == "dialog").await
}

/// Subscriptions to presence, both ways, of users of SIP homes.
#[utoipa::path(get, path = "/api/subscriptions", tag = "status", params(Wanted), responses(
    (status = 200, body = OpenAnswer), (status = 400, body = Problem), (status = 503, body = Problem)
))]
pub(super) async fn subscriptions(
    State(app): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<OpenAnswer>, Failure> {
    open(&app, &wanted?.0, |fact| fact.what != "dialog").await
}

async fn open(
    app: &App,
    wanted: &Wanted,
    is_wanted: fn(&OpenFact) -> bool,
) -> Result<Json<OpenAnswer>, Failure> {
    let (after, limit) = wanted.page()?;
    let look = app.desk.look().await?;
    let mut shard = u16::try_from(after >> SHARD_BITS).unwrap_or(u16::MAX);
    // The shard's own place has its top bits to spare: a home's number is far below what they hold.
    let mut place = after & ((1 << SHARD_BITS) - 1);
    let mut answer = OpenAnswer::default();
    for _ in 0..EMPTY_MAX {
        if shard >= look.world.shards {
            return Ok(Json(answer));
        }
        let survey = Arc::new(Survey::Open(place, limit - answer.rows.len()));
        let Surveyed::Open(page) = app.survey(shard, survey).await? else { break };
        answer.rows.extend(page.rows.iter().filter(|fact| is_wanted(fact)).map(|fact| OpenRow {
            what: fact.what.to_owned(),
            home: look.world.side_name(fact.side).to_owned(),
            user: fact.local.clone(),
            partner: fact.partner.clone(),
            text: fact.text.clone(),
        }));
        (shard, place) = match page.next {
            Some(next) => (shard, next),
            None => (shard + 1, 0),
        };
        if answer.rows.len() >= limit {
            break;
        }
    }
    answer.next_after =
        (shard < look.world.shards).then(|| (u64::from(shard) << SHARD_BITS | place).to_string());
    Ok(Json(answer))
}

/// The certificates we show, as they are in use.
#[utoipa::path(get, path = "/api/certificates", tag = "status", responses(
    (status = 200, body = CertificatesAnswer), (status = 503, body = Problem)
))]
pub(super) async fn certificates(State(app): Shared) -> Result<Json<CertificatesAnswer>, Failure> {
    let look = app.desk.look().await?;
    let now = i64::try_from(look.now_unix).unwrap_or(i64::MAX);
    let mut certificates: Vec<CertificateAnswer> = look
        .certificates
        .iter()
        .map(|shown| CertificateAnswer {
            file: shown.file.display().to_string(),
            used_by: shown.used_by.clone(),
            names: shown.names.clone(),
            issuer: shown.issuer.clone(),
            not_after_unix: shown.not_after_unix,
            days_left: (shown.not_after_unix - now).div_euclid(86_400),
        })
        .collect();
    certificates.sort_by_key(|certificate| certificate.not_after_unix);
    Ok(Json(CertificatesAnswer { certificates }))
}
