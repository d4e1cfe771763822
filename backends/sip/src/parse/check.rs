//! What is wrong with a message, and what to say about it.

use std::borrow::Cow;
use std::ops::Range;

use super::hops::Top;
use super::lexer::Malformed;
use super::{CSeq, HeaderName, MediaType, Message, NameAddr, Scheme, Start, Uri, Via, has_naked_control};

/// What this element can do, as it says in its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Methods that are served, in the order of `Allow`.
    pub methods: &'static [&'static str],
    /// Extensions that may be required.
    pub extensions: &'static [&'static str],
    /// Media types that are understood, in the order of `Accept`.
    pub media_types: &'static [&'static str],
    /// Event packages that are served.
    pub events: &'static [&'static str],
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            methods: &["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "MESSAGE", "INFO", "SUBSCRIBE", "NOTIFY"],
            extensions: &[],
            media_types: &[
                "application/sdp",
                "text/plain",
                "text/html",
                "text/rtf",
                "multipart/alternative",
                "multipart/related",
                "multipart/mixed",
                "text/x-msmsgsinvite",
                "application/xml",
                "application/im-iscomposing+xml",
                "application/ms-imdn+xml",
                "application/pidf+xml",
            ],
            events: &["presence"],
        }
    }
}

/// An answer that ends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub reason: &'static str,
    /// The header that tells the sender what would have been right: Allow, Accept, Unsupported, Allow-Events.
    pub header: Option<(HeaderName, String)>,
    /// What was wrong, for the log.
    pub detail: &'static str,
}

/// Why a message may not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A request to answer.
    Answer(Answer),
    /// A message to forget: a response, or a request that cannot or must not be answered. The text says why.
    Drop(&'static str),
}

/// Checks a message as the user agent that receives it (RFC 3261 §8.2 and §8.1.3; the cases of RFC 4475).
///
/// `Max-Forwards: 0` passes: it stops a request from going further, and whether it goes further is the caller's to know.
///
/// # Errors
/// What to answer, or that there is nothing to say.
pub fn check(message: &Message, able: &Capabilities) -> Result<(), Problem> {
    vet(message, able, &Familiar::default()).map(|_| ())
}

/// Values that every message must have, as they were read when it was checked.
#[derive(Debug, Clone)]
pub(crate) struct Vitals<'a> {
    /// The topmost Via.
    pub(crate) via: Via<'a>,
    /// Call-ID.
    pub(crate) call_id: &'a str,
    /// The tag of From, empty for peers of RFC 2543.
    pub(crate) from_tag: Cow<'a, str>,
    /// The tag of To, if it has one.
    pub(crate) to_tag: Option<Cow<'a, str>>,
    /// CSeq.
    pub(crate) cseq: CSeq<'a>,
    /// Max-Forwards, or what its absence stands for.
    pub(crate) max_forwards: u8,
    /// Content-Type; also `None` where `is_plain_text`.
    pub(crate) content_type: Option<MediaType<'a>>,
    /// The body is known to be plain text in UTF-8.
    pub(crate) is_plain_text: bool,
    /// Via is, branches aside, what it was in an earlier message.
    pub(crate) is_known_way: bool,
    /// So is everything else that may be familiar.
    pub(crate) is_all_familiar: bool,
}

/// What is the same, byte for byte, as in an earlier message that was checked in full, and so needs no reading again. Invariant:
/// whoever says so has compared the bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Familiar {
    /// Call-ID, From and To; where the tags lie in the values of From and To.
    pub(crate) users: Option<(Range<usize>, Range<usize>)>,
    /// The Request-URI.
    pub(crate) uri: bool,
    /// Contact, of which there is one line.
    pub(crate) contact: bool,
    /// Content-Type, which is that of plain text in UTF-8.
    pub(crate) plain_text: bool,
    /// Every Via, but for branches that are tokens; where things are in the topmost.
    pub(crate) top: Option<Top>,
}

/// As [`check()`], and hands out what was read for it.
///
/// # Errors
/// As [`check()`].
pub(crate) fn vet<'a>(
    message: &'a Message,
    able: &Capabilities,
    familiar: &Familiar,
) -> Result<Vitals<'a>, Problem> {
    let Start::Request { method, .. } = message.start() else {
        return response(message, familiar).map_err(|Malformed(what)| Problem::Drop(what));
    };
    let unanswerable = [b"ACK".as_slice(), b"BENOTIFY"].contains(&method);
    request(message, method, able, familiar).map_err(|problem| match problem {
        Problem::Answer(answer) if unanswerable => Problem::Drop(answer.detail),
        other => other,
    })
}

/// A response is good or forgotten; one with several Vias was not meant to end here (RFC 3261 §8.1.3.3).
fn response<'a>(message: &'a Message, familiar: &Familiar) -> Result<Vitals<'a>, Malformed> {
    if let Some(flaw) = message.flaw() {
        return Err(flaw);
    }
    if !message.is_version_known() {
        return Err(Malformed("the SIP version is not 2.0"));
    }
    if message.headers(HeaderName::Via).count() != 1 {
        return Err(Malformed("a response must have one Via"));
    }
    grammar(message, familiar)
}

fn request<'a>(
    message: &'a Message,
    method: &[u8],
    able: &Capabilities,
    familiar: &Familiar,
) -> Result<Vitals<'a>, Problem> {
    let mut vias = message.lines(HeaderName::Via).peekable();
    if vias.peek().is_none() {
        return Err(Problem::Drop("a request without Via cannot be answered"));
    }
    // A message without a flaw holds none.
    if message.flaw().is_some() && vias.any(has_naked_control) {
        return Err(Problem::Drop("a Via holds a control character and cannot be sent back"));
    }
    if !message.is_version_known() {
        return Err(answer(505, "Version Not Supported", "the SIP version is not 2.0"));
    }
    if let Some(Malformed(what)) = message.flaw() {
        return Err(answer(400, "Bad Request", what));
    }
    let vitals = grammar(message, familiar).map_err(bad_request)?;
    method_served(method, able)?;
    if vitals.cseq.method != method {
        return Err(answer(400, "Bad Request", "the method of CSeq is not that of the request"));
    }
    if !familiar.uri {
        target(&message.uri().map_err(bad_request)?)?;
    }
    extensions(message, method, able)?;
    event(message, method, able)?;
    content(message, method, &vitals, able)?;
    Ok(vitals)
}

/// Reads every value that turnout will rely on, so that no later step meets a malformed one.
fn grammar<'a>(message: &'a Message, familiar: &Familiar) -> Result<Vitals<'a>, Malformed> {
    let known = familiar.top.as_ref().and_then(|top| top.read(message));
    let via = known.map_or_else(|| way(message), Ok)?;
    let (call_id, from_tag, to_tag) = parties(message, familiar)?;
    let vitals = Vitals {
        via,
        call_id,
        from_tag,
        to_tag,
        cseq: message.cseq()?,
        max_forwards: message.max_forwards()?,
        content_type: if familiar.plain_text { None } else { message.content_type()? },
        is_plain_text: familiar.plain_text,
        is_known_way: known.is_some(),
        is_all_familiar: known.is_some() && familiar.uri && familiar.contact && familiar.plain_text,
    };
    if !familiar.contact {
        let is_register = message.method() == Some(b"REGISTER");
        for value in message.headers(HeaderName::Contact).filter(|value| !(is_register && *value == b"*")) {
            NameAddr::parse(value)?;
        }
    }
    for name in [HeaderName::Route, HeaderName::RecordRoute] {
        for value in message.headers(name) {
            NameAddr::parse(value)?;
        }
    }
    Ok(vitals)
}

/// Reads every Via; gives the topmost.
fn way(message: &Message) -> Result<Via<'_>, Malformed> {
    let mut top = None;
    for value in message.headers(HeaderName::Via) {
        let via = Via::parse(value)?;
        if via.branch().is_some_and(|branch| branch == "z9hG4bK") {
            return Err(Malformed("the branch of a Via is the magic cookie and nothing more"));
        }
        top.get_or_insert(via);
    }
    top.ok_or(Malformed("Via is missing"))
}

/// Call-ID, and the tags of From and To.
type Parties<'a> = (&'a str, Cow<'a, str>, Option<Cow<'a, str>>);

fn parties<'a>(message: &'a Message, familiar: &Familiar) -> Result<Parties<'a>, Malformed> {
    if let Some((from, to)) = familiar.users.clone() {
        let line = |name| message.lines(name).next().unwrap_or_default();
        let tag = |name, span| std::str::from_utf8(line(name).get(span).unwrap_or_default());
        if let (Ok(call_id), Ok(from), Ok(to)) = (
            std::str::from_utf8(line(HeaderName::CallId)),
            tag(HeaderName::From, from),
            tag(HeaderName::To, to),
        ) {
            return Ok((call_id, from.into(), Some(to.into())));
        }
    }
    let call_id = message.call_id()?;
    let (from, to) = (message.from()?, message.to()?);
    Ok((call_id, from.tag().unwrap_or_default(), to.tag()))
}

fn method_served(method: &[u8], able: &Capabilities) -> Result<(), Problem> {
    if able.methods.iter().any(|served| served.as_bytes() == method) {
        return Ok(());
    }
    let allow = Some((HeaderName::Allow, able.methods.join(", ")));
    let known = KNOWN_METHODS.contains(&method);
    let (status, reason) = if known { (405, "Method Not Allowed") } else { (501, "Not Implemented") };
    Err(Problem::Answer(Answer { status, reason, header: allow, detail: "the method is not served" }))
}

/// Methods that are understood well enough to know that they are refused.
const KNOWN_METHODS: [&[u8]; 16] = [
    b"ACK",
    b"BENOTIFY",
    b"BYE",
    b"CANCEL",
    b"INFO",
    b"INVITE",
    b"MESSAGE",
    b"NEGOTIATE",
    b"NOTIFY",
    b"OPTIONS",
    b"PRACK",
    b"PUBLISH",
    b"REFER",
    b"REGISTER",
    b"SERVICE",
    b"UPDATE",
];

fn target(uri: &Uri<'_>) -> Result<(), Problem> {
    if uri.scheme == Scheme::Other {
        return Err(answer(416, "Unsupported URI Scheme", "the Request-URI is neither sip nor sips"));
    }
    if uri.headers.is_some() {
        return Err(answer(400, "Bad Request", "the Request-URI holds headers"));
    }
    Ok(())
}

/// RFC 3261 §8.2.2.3, which exempts ACK and CANCEL.
fn extensions(message: &Message, method: &[u8], able: &Capabilities) -> Result<(), Problem> {
    if [b"ACK".as_slice(), b"CANCEL"].contains(&method) {
        return Ok(());
    }
    let required = [HeaderName::Require, HeaderName::ProxyRequire];
    if required.into_iter().all(|name| message.lines(name).next().is_none()) {
        return Ok(());
    }
    let unknown: Vec<&str> = required
        .into_iter()
        .flat_map(|name| message.headers(name))
        .filter(|tag| !able.extensions.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(tag)))
        .filter_map(|tag| std::str::from_utf8(tag).ok())
        .filter(|tag| super::is_token(tag.as_bytes()))
        .take(UNSUPPORTED_MAX)
        .collect();
    let any = required.into_iter().flat_map(|name| message.headers(name));
    let malformed = any.filter(|tag| !super::is_token(tag)).count();
    if malformed > 0 {
        return Err(answer(400, "Bad Request", "a required extension is not a token"));
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Problem::Answer(Answer {
        status: 420,
        reason: "Bad Extension",
        header: Some((HeaderName::Unsupported, unknown.join(", "))),
        detail: "an extension is required that is not supported",
    }))
}

/// Most extensions named in an answer, so that it never grows with the request.
const UNSUPPORTED_MAX: usize = 16;

/// RFC 6665 §4.1.3 and §4.2.1.
fn event(message: &Message, method: &[u8], able: &Capabilities) -> Result<(), Problem> {
    if ![b"SUBSCRIBE".as_slice(), b"NOTIFY", b"BENOTIFY"].contains(&method) {
        return Ok(());
    }
    let value = message.header(HeaderName::Event).unwrap_or_default();
    let package = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if able.events.iter().any(|event| event.as_bytes() == package) {
        return Ok(());
    }
    Err(Problem::Answer(Answer {
        status: 489,
        reason: "Bad Event",
        header: Some((HeaderName::AllowEvents, able.events.join(", "))),
        detail: "the event package is not served",
    }))
}

/// RFC 3261 §8.2.3; a body whose handling is optional may be ignored (§20.11).
fn content(
    message: &Message,
    method: &[u8],
    vitals: &Vitals<'_>,
    able: &Capabilities,
) -> Result<(), Problem> {
    let with_body: [&[u8]; 6] = [b"INVITE", b"MESSAGE", b"INFO", b"SUBSCRIBE", b"NOTIFY", b"BENOTIFY"];
    if !with_body.contains(&method) {
        return Ok(());
    }
    if method == b"INVITE" && !accepts(message, "application/sdp") {
        return Err(answer(406, "Not Acceptable", "the sender of an INVITE does not accept application/sdp"));
    }
    if message.body_bytes().is_empty() || is_optional(message) {
        return Ok(());
    }
    if message.headers(HeaderName::ContentEncoding).any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::Answer(Answer {
            status: 415,
            reason: "Unsupported Media Type",
            header: Some((HeaderName::AcceptEncoding, "identity".to_owned())),
            detail: "the body is encoded",
        }));
    }
    if vitals.is_plain_text {
        return plain_text_served(able);
    }
    let Some(media) = &vitals.content_type else {
        return Err(answer(400, "Bad Request", "a body has no Content-Type"));
    };
    if able.media_types.iter().any(|known| media.is(known)) {
        return Ok(());
    }
    Err(not_understood(able))
}

fn plain_text_served(able: &Capabilities) -> Result<(), Problem> {
    if able.media_types.contains(&"text/plain") { Ok(()) } else { Err(not_understood(able)) }
}

fn not_understood(able: &Capabilities) -> Problem {
    Problem::Answer(Answer {
        status: 415,
        reason: "Unsupported Media Type",
        header: Some((HeaderName::Accept, able.media_types.join(", "))),
        detail: "the media type of the body is not understood",
    })
}

/// Whether Accept, if it is there, takes in this type (RFC 3261 §20.1).
pub(crate) fn accepts(message: &Message, essence: &str) -> bool {
    let kind = essence.split('/').next().unwrap_or_default();
    message.lines(HeaderName::Accept).next().is_none()
        || message.headers(HeaderName::Accept).filter_map(|value| MediaType::parse(value).ok()).any(|range| {
            range.is(essence)
                || range.subtype == "*" && (range.kind == "*" || range.kind.eq_ignore_ascii_case(kind))
        })
}

fn is_optional(message: &Message) -> bool {
    let Some(value) = message.header(HeaderName::ContentDisposition) else { return false };
    super::Word::parse(value)
        .is_ok_and(|word| word.params.get("handling").is_some_and(|how| how.eq_ignore_ascii_case("optional")))
}

fn answer(status: u16, reason: &'static str, detail: &'static str) -> Problem {
    Problem::Answer(Answer { status, reason, header: None, detail })
}

fn bad_request(Malformed(detail): Malformed) -> Problem {
    answer(400, "Bad Request", detail)
}
