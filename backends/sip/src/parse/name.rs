//! Names of header fields, interned.

/// Declares the enum, the spelling to write and the lower-case spellings to read, compact form included.
macro_rules! header_names {
    ($($variant:ident $canonical:literal $($lower:literal)|+,)*) => {
        /// The header fields turnout knows by name; any other is [`HeaderName::Other`] and keeps its bytes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $canonical, "`")] $variant,)*
            /// A header field without a name of its own here.
            Other,
        }

        impl HeaderName {
            /// The spelling turnout writes; empty for [`HeaderName::Other`], which has none.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $canonical,)*
                    Self::Other => "",
                }
            }
        }

        /// Every spelling, in lower case, and the one turnout writes.
        const SPELLINGS: &[(&[u8], HeaderName, &[u8])] =
            &[$($(($lower, HeaderName::$variant, $canonical.as_bytes()),)+)*];
    };
}

impl HeaderName {
    /// The name of a header field, in any case and in full or compact form (RFC 3261 §7.3.1 and §7.3.3).
    pub fn of(label: &[u8]) -> Self {
        Self::read(label).0
    }

    /// The name of a header field, and whether it is spelled as we do.
    pub(super) fn read(label: &[u8]) -> (Self, bool) {
        let (spelling, name, usual) = BY_PLACE[place(label)];
        // Nearly everybody writes them as we do.
        if label == usual {
            return (name, true);
        }
        (if label.eq_ignore_ascii_case(spelling) { name } else { Self::Other }, false)
    }
}

/// Places in the table of spellings.
const PLACES: usize = 512;

/// Every spelling at its place; the numbers in [`place`] were chosen so that no two share one, which is checked here.
static BY_PLACE: [(&[u8], HeaderName, &[u8]); PLACES] = {
    let mut table: [(&[u8], HeaderName, &[u8]); PLACES] = [(b"", HeaderName::Other, b""); PLACES];
    let mut at = 0;
    while at < SPELLINGS.len() {
        let place = place(SPELLINGS[at].0);
        assert!(table[place].0.is_empty(), "two names share a place: choose other numbers");
        table[place] = SPELLINGS[at];
        at += 1;
    }
    table
};

/// The one place where a spelling can be: by length, first, middle and last letter, whatever their case.
const fn place(label: &[u8]) -> usize {
    let [first, .., last] = label else {
        return match label {
            [only] => letters(1, *only, *only, *only),
            _ => 0,
        };
    };
    letters(label.len(), *first, label[label.len() / 2], *last)
}

const fn letters(len: usize, first: u8, middle: u8, last: u8) -> usize {
    const LOWER: u8 = 0x20;
    let mixed = len.wrapping_mul(501)
        + 1704 * (first | LOWER) as usize
        + 1003 * (middle | LOWER) as usize
        + 1701 * (last | LOWER) as usize;
    (mixed >> 3) % PLACES
}

header_names! {
    Accept "Accept" b"accept",
    AcceptContact "Accept-Contact" b"accept-contact" | b"a",
    AcceptEncoding "Accept-Encoding" b"accept-encoding",
    AcceptLanguage "Accept-Language" b"accept-language",
    AlertInfo "Alert-Info" b"alert-info",
    Allow "Allow" b"allow",
    AllowEvents "Allow-Events" b"allow-events" | b"u",
    Authorization "Authorization" b"authorization",
    CallId "Call-ID" b"call-id" | b"i",
    CallInfo "Call-Info" b"call-info",
    Compression "Compression" b"compression",
    Contact "Contact" b"contact" | b"m",
    ContentDisposition "Content-Disposition" b"content-disposition",
    ContentEncoding "Content-Encoding" b"content-encoding" | b"e",
    ContentLanguage "Content-Language" b"content-language",
    ContentLength "Content-Length" b"content-length" | b"l",
    ContentTransferEncoding "Content-Transfer-Encoding" b"content-transfer-encoding",
    ContentType "Content-Type" b"content-type" | b"c",
    CSeq "CSeq" b"cseq",
    Date "Date" b"date",
    EndPoints "EndPoints" b"endpoints",
    ErrorInfo "Error-Info" b"error-info",
    Event "Event" b"event" | b"o",
    Expires "Expires" b"expires",
    From "From" b"from" | b"f",
    HistoryInfo "History-Info" b"history-info",
    Identity "Identity" b"identity" | b"y",
    IdentityInfo "Identity-Info" b"identity-info" | b"n",
    InReplyTo "In-Reply-To" b"in-reply-to",
    MaxForwards "Max-Forwards" b"max-forwards",
    MimeVersion "MIME-Version" b"mime-version",
    MinExpires "Min-Expires" b"min-expires",
    MinSe "Min-SE" b"min-se",
    MsClientDiagnostics "ms-client-diagnostics" b"ms-client-diagnostics",
    MsConversationId "Ms-Conversation-ID" b"ms-conversation-id",
    MsDiagnostics "ms-diagnostics" b"ms-diagnostics",
    MsDiagnosticsPublic "ms-diagnostics-public" b"ms-diagnostics-public",
    MsImFormat "ms-im-format" b"ms-im-format",
    MsKeepAlive "ms-keep-alive" b"ms-keep-alive",
    MsSubnet "ms-subnet" b"ms-subnet",
    MsTextFormat "ms-text-format" b"ms-text-format",
    Organization "Organization" b"organization",
    PAssertedIdentity "P-Asserted-Identity" b"p-asserted-identity",
    PPreferredIdentity "P-Preferred-Identity" b"p-preferred-identity",
    Path "Path" b"path",
    Priority "Priority" b"priority",
    Privacy "Privacy" b"privacy",
    ProxyAuthenticate "Proxy-Authenticate" b"proxy-authenticate",
    ProxyAuthorization "Proxy-Authorization" b"proxy-authorization",
    ProxyRequire "Proxy-Require" b"proxy-require",
    RAck "RAck" b"rack",
    Reason "Reason" b"reason",
    RecordRoute "Record-Route" b"record-route",
    ReferredBy "Referred-By" b"referred-by" | b"b",
    ReferTo "Refer-To" b"refer-to" | b"r",
    RejectContact "Reject-Contact" b"reject-contact" | b"j",
    Replaces "Replaces" b"replaces",
    RequestDisposition "Request-Disposition" b"request-disposition" | b"d",
    Require "Require" b"require",
    RetryAfter "Retry-After" b"retry-after",
    RosterManager "Roster-Manager" b"roster-manager",
    Route "Route" b"route",
    RSeq "RSeq" b"rseq",
    Server "Server" b"server",
    ServiceRoute "Service-Route" b"service-route",
    SessionExpires "Session-Expires" b"session-expires" | b"x",
    SipEtag "SIP-ETag" b"sip-etag",
    SipIfMatch "SIP-If-Match" b"sip-if-match",
    Subject "Subject" b"subject" | b"s",
    SubscriptionState "Subscription-State" b"subscription-state",
    Supported "Supported" b"supported" | b"k",
    Timestamp "Timestamp" b"timestamp",
    To "To" b"to" | b"t",
    Unsupported "Unsupported" b"unsupported",
    UserAgent "User-Agent" b"user-agent",
    Via "Via" b"via" | b"v",
    Warning "Warning" b"warning",
    WwwAuthenticate "WWW-Authenticate" b"www-authenticate",
}

/// How many names there are, [`HeaderName::Other`] included.
pub(super) const NAMES: usize = HeaderName::Other as usize + 1;

impl HeaderName {
    /// Whether a comma parts values of this header, so that one line may stand for several (RFC 3261 §7.3.1). Unknown
    /// headers, and those like `Subject`, `Date` and `WWW-Authenticate`, hold one value whatever commas are in it.
    pub fn is_list(self) -> bool {
        matches!(
            self,
            Self::Accept
                | Self::AcceptEncoding
                | Self::AcceptLanguage
                | Self::AlertInfo
                | Self::Allow
                | Self::AllowEvents
                | Self::CallInfo
                | Self::Contact
                | Self::ContentEncoding
                | Self::ContentLanguage
                | Self::EndPoints
                | Self::ErrorInfo
                | Self::HistoryInfo
                | Self::InReplyTo
                | Self::PAssertedIdentity
                | Self::PPreferredIdentity
                | Self::Path
                | Self::ProxyRequire
                | Self::Reason
                | Self::RecordRoute
                | Self::Require
                | Self::Route
                | Self::ServiceRoute
                | Self::Supported
                | Self::Unsupported
                | Self::Via
                | Self::Warning
        )
    }

    /// Whether a message may hold this header once only, so that a second makes it malformed (RFC 3261 §7.3.1): two
    /// readers might pick different ones.
    pub fn is_single(self) -> bool {
        matches!(
            self,
            Self::CallId
                | Self::ContentLength
                | Self::ContentType
                | Self::CSeq
                | Self::Event
                | Self::Expires
                | Self::From
                | Self::MaxForwards
                | Self::SubscriptionState
                | Self::To
        )
    }
}
