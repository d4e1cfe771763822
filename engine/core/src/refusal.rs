//! Why a stanza is not delivered. Invariant: a [`Refusal`] always says whose fault it is, whether the same stanza may be tried
//! again, and whether its sender is told; it cannot be built without the three.

use std::borrow::Cow;
use std::fmt;

/// Defined conditions of stanza errors, RFC 6120 §8.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The stanza does not conform to the schema.
    BadRequest,
    /// An existing resource has the same name.
    Conflict,
    /// The feature is not there.
    FeatureNotImplemented,
    /// The sender may not do this.
    Forbidden,
    /// The recipient can no longer be reached at this address.
    Gone,
    /// Our own fault.
    InternalServerError,
    /// The addressed item is not there.
    ItemNotFound,
    /// An address is not a JID.
    JidMalformed,
    /// The recipient does not accept this content.
    NotAcceptable,
    /// Nobody may do this.
    NotAllowed,
    /// The sender has to authenticate first.
    NotAuthorized,
    /// A local policy forbids it.
    PolicyViolation,
    /// The recipient is away for now.
    RecipientUnavailable,
    /// The recipient is elsewhere.
    Redirect,
    /// The sender has to register first.
    RegistrationRequired,
    /// The remote domain does not exist or offers no such service.
    RemoteServerNotFound,
    /// The remote domain exists and could not be reached or agreed with.
    RemoteServerTimeout,
    /// Too busy to take it.
    ResourceConstraint,
    /// The service is not offered here.
    ServiceUnavailable,
    /// The sender has to subscribe first.
    SubscriptionRequired,
    /// None of the others.
    UndefinedCondition,
    /// Out of order.
    UnexpectedRequest,
}

impl Condition {
    /// The element name in `urn:ietf:params:xml:ns:xmpp-stanzas`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Conflict => "conflict",
            Self::FeatureNotImplemented => "feature-not-implemented",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::InternalServerError => "internal-server-error",
            Self::ItemNotFound => "item-not-found",
            Self::JidMalformed => "jid-malformed",
            Self::NotAcceptable => "not-acceptable",
            Self::NotAllowed => "not-allowed",
            Self::NotAuthorized => "not-authorized",
            Self::PolicyViolation => "policy-violation",
            Self::RecipientUnavailable => "recipient-unavailable",
            Self::Redirect => "redirect",
            Self::RegistrationRequired => "registration-required",
            Self::RemoteServerNotFound => "remote-server-not-found",
            Self::RemoteServerTimeout => "remote-server-timeout",
            Self::ResourceConstraint => "resource-constraint",
            Self::ServiceUnavailable => "service-unavailable",
            Self::SubscriptionRequired => "subscription-required",
            Self::UndefinedCondition => "undefined-condition",
            Self::UnexpectedRequest => "unexpected-request",
        }
    }

    /// The condition of that element name, or `None` where RFC 6120 does not define it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.as_str() == name)
    }

    /// The error type RFC 6120 §8.3.3 recommends for the condition.
    pub fn usual_type(self) -> ErrorType {
        match self {
            Self::BadRequest
            | Self::JidMalformed
            | Self::NotAcceptable
            | Self::PolicyViolation
            | Self::Redirect => ErrorType::Modify,
            Self::Forbidden
            | Self::NotAuthorized
            | Self::RegistrationRequired
            | Self::SubscriptionRequired => ErrorType::Auth,
            Self::RecipientUnavailable
            | Self::RemoteServerTimeout
            | Self::ResourceConstraint
            | Self::UnexpectedRequest => ErrorType::Wait,
            Self::Conflict
            | Self::FeatureNotImplemented
            | Self::Gone
            | Self::InternalServerError
            | Self::ItemNotFound
            | Self::NotAllowed
            | Self::RemoteServerNotFound
            | Self::ServiceUnavailable
            | Self::UndefinedCondition => ErrorType::Cancel,
        }
    }

    /// All conditions, in the order of RFC 6120.
    pub const ALL: [Self; 22] = [
        Self::BadRequest,
        Self::Conflict,
        Self::FeatureNotImplemented,
        Self::Forbidden,
        Self::Gone,
        Self::InternalServerError,
        Self::ItemNotFound,
        Self::JidMalformed,
        Self::NotAcceptable,
        Self::NotAllowed,
        Self::NotAuthorized,
        Self::PolicyViolation,
        Self::RecipientUnavailable,
        Self::Redirect,
        Self::RegistrationRequired,
        Self::RemoteServerNotFound,
        Self::RemoteServerTimeout,
        Self::ResourceConstraint,
        Self::ServiceUnavailable,
        Self::SubscriptionRequired,
        Self::UndefinedCondition,
        Self::UnexpectedRequest,
    ];
}

/// What the sender of a refused stanza may do, RFC 6120 §8.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// Retry after giving credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// Go on: only a warning.
    Continue,
    /// Retry after changing the data.
    Modify,
    /// Retry after waiting.
    Wait,
}

impl ErrorType {
    /// The value of the `type` attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }
}

/// Whose fault a refusal is: the first thing the person on call wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The stanza or its sender.
    Sender,
    /// The recipient, his settings or his client.
    Recipient,
    /// The next hop: partner server, gateway or pool.
    NextHop,
    /// This router or its configuration.
    Router,
}

impl Blame {
    /// The label used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::NextHop => "next_hop",
            Self::Router => "router",
        }
    }
}

/// Whether the same stanza may be offered again by the router itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Another link or a later attempt may take it.
    Later,
    /// The home it was given to does not know its recipient: once, on his home as the directory now has it, or on the other side.
    Elsewhere,
    /// It will be refused again.
    Never,
}

/// Whether the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bounce {
    /// An error stanza (or a final SIP response) goes back.
    Yes,
    /// Silence: the standard forbids an answer.
    No,
}

/// The reason a stanza is not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the sender is told.
    pub condition: Condition,
    /// What the sender may do about it.
    pub error_type: ErrorType,
    /// Whose fault it is.
    pub blame: Blame,
    /// Whether the router may try again by itself.
    pub retry: Retry,
    /// Whether the sender is told.
    pub bounce: Bounce,
    /// Told to the sender: names nothing inside our network.
    pub text: Cow<'static, str>,
    /// For the operator's log alone; may name hosts and codes.
    pub detail: Option<Box<str>>,
}

impl Refusal {
    /// A refusal with the error type the standard recommends.
    pub fn new(
        condition: Condition,
        blame: Blame,
        retry: Retry,
        bounce: Bounce,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            condition,
            error_type: condition.usual_type(),
            blame,
            retry,
            bounce,
            text: clip(text.into()),
            detail: None,
        }
    }

    /// The same refusal with another error type.
    #[must_use]
    pub fn with_type(mut self, error_type: ErrorType) -> Self {
        self.error_type = error_type;
        self
    }

    /// The same refusal with something for the operator's log.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.condition.as_str(), self.blame.as_str(), self.text)?;
        match &self.detail {
            Some(detail) => write!(f, " [{detail}]"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// Keeps the told text within its limit, cut at a character.
fn clip(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= crate::limits::ERROR_TEXT_BYTES_MAX {
        return text;
    }
    let end = text.floor_char_boundary(crate::limits::ERROR_TEXT_BYTES_MAX);
    Cow::Owned(text[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for condition in Condition::ALL {
            assert_eq!(Condition::from_name(condition.as_str()), Some(condition));
        }
        assert_eq!(Condition::from_name("host-unknown"), None);
    }

    #[test]
    fn told_text_is_bounded_at_a_character() {
        let refusal = Refusal::new(
            Condition::Gone,
            Blame::Sender,
            Retry::Never,
            Bounce::Yes,
            "ü".repeat(crate::limits::ERROR_TEXT_BYTES_MAX),
        );
        assert!(refusal.text.len() <= crate::limits::ERROR_TEXT_BYTES_MAX);
        assert!(refusal.text.chars().all(|c| c == 'ü'));
    }
}
