//! Errors of one side in the words of the other (RFC 7247 §6, tables 2 and 3, and the diagnostic codes of Microsoft's servers).
//!
//! Invariant: `service-unavailable` never becomes 503, which would make the pool's proxy stop talking to us for everybody (RFC
//! 7247 table 2, note 5); and an answer never starts a challenge or ends a call for other endpoints unless the policy asks
//! for it.

use turnout_core::refusal::{Condition, ErrorType};

use crate::parse::Message;
use crate::write::usual_reason;

/// Where the letter of RFC 7247 does harm at a pool. The default is what works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusPolicy {
    /// Answer for a bare address with 6xx, as the table says. A proxy then stops ringing every other endpoint of the
    /// user, so by default the 4xx for a full address is used.
    pub global_failures: bool,
    /// Answer 401 and 407, as the table says. They ask for credentials that we could not check, so by default it is 403.
    pub challenges: bool,
}

/// What the status code depends on besides the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// The stanza was sent to a full JID.
    pub full_jid: bool,
    /// The error names another address and it can be given in Contact.
    pub new_address: bool,
}

/// A status code with its usual words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SipStatus {
    /// Status code, 301 to 606.
    pub code: u16,
    /// Reason phrase, if the error brought no text.
    pub reason: &'static str,
}

/// The answer for a stanza error (RFC 7247 table 2). Without a new address there is nothing to redirect to, so `gone` is 410 and
/// `redirect` 480.
pub fn status_of(condition: Condition, refused: Refused, policy: StatusPolicy) -> SipStatus {
    let bare = !refused.full_jid;
    let global = |code: u16, global: u16| if bare && policy.global_failures { global } else { code };
    let challenge = |code: u16| if policy.challenges { code } else { 403 };
    let code = match condition {
        Condition::BadRequest
        | Condition::Conflict
        | Condition::JidMalformed
        | Condition::SubscriptionRequired
        | Condition::UndefinedCondition
        | Condition::UnexpectedRequest => 400,
        Condition::FeatureNotImplemented => {
            if bare {
                501
            } else {
                405
            }
        }
        Condition::Forbidden => global(403, 603),
        Condition::Gone if refused.new_address => 301,
        Condition::Gone => 410,
        Condition::InternalServerError | Condition::ResourceConstraint => 500,
        Condition::ItemNotFound => global(404, 604),
        Condition::NotAcceptable => global(406, 606),
        Condition::NotAllowed | Condition::PolicyViolation | Condition::ServiceUnavailable => 403,
        Condition::NotAuthorized => challenge(401),
        Condition::RecipientUnavailable => global(480, 600),
        Condition::Redirect if refused.new_address => 302,
        Condition::Redirect => 480,
        Condition::RegistrationRequired => challenge(407),
        Condition::RemoteServerNotFound => 404,
        Condition::RemoteServerTimeout => 408,
    };
    SipStatus { code, reason: usual_reason(code) }
}

/// What turnout does besides telling the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing.
    None,
    /// The home of the user may be out of date: look it up again and try once on the other side.
    RefreshHome,
    /// The route of the dialog is no longer valid: forget the dialog and open a new one.
    Reopen,
    /// The pool cannot reach us or does not trust us: tell the operator.
    TellOperator,
}

/// A stanza error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XmppError {
    /// Defined condition.
    pub condition: Condition,
    /// Type of the error.
    pub kind: ErrorType,
    /// Text for a person.
    pub text: &'static str,
    /// What else to do.
    pub remedy: Remedy,
}

/// The stanza error for a final response of 300 and above (RFC 7247 table 3). A diagnostic code of the pool says more than the
/// status and goes first; Warning 309 on a 606 is the pool's content filter.
pub fn condition_of(status: u16, diagnostics: Option<u32>, warning: Option<u16>) -> XmppError {
    if let Some(error) = diagnostics.and_then(diagnosed) {
        return error;
    }
    if (status, warning) == (606, Some(309)) {
        let text = "The policy of the recipient's organisation blocks this content";
        return error(Condition::PolicyViolation, ErrorType::Modify, text);
    }
    match status {
        300..400 => redirected(status),
        400..500 => refused(status),
        500..600 => failed(status),
        604 => not_found(),
        606 => not_acceptable(),
        600..700 => unavailable(),
        _ => error(
            Condition::UndefinedCondition,
            ErrorType::Cancel,
            "The recipient's server gave no usable answer",
        ),
    }
}

/// As [`condition_of`], from the response itself.
pub fn condition_of_response(response: &Message) -> XmppError {
    condition_of(response.status().unwrap_or_default(), response.diagnostics(), response.warning())
}

/// The stanza error when no response came or the transport failed.
pub fn condition_of_silence() -> XmppError {
    error(Condition::RemoteServerTimeout, ErrorType::Wait, "The recipient's server did not answer")
}

/// Codes of ms-diagnostics (MS-OCER) that say more than the status.
fn diagnosed(code: u32) -> Option<XmppError> {
    let with = |remedy, error| Some(XmppError { remedy, ..error });
    match code {
        1001 | 1002 | 1012 => {
            let text = "The recipient does not accept messages from your organisation";
            Some(error(Condition::Forbidden, ErrorType::Auth, text))
        }
        1003 | 4005 => Some(no_such_user()),
        4006 => with(Remedy::RefreshHome, no_such_user()),
        4141 => with(Remedy::RefreshHome, unavailable()),
        1004 => with(Remedy::Reopen, unavailable()),
        1007 => with(Remedy::TellOperator, condition_of_silence()),
        1005 | 1008 | 1009 | 1010 => with(Remedy::TellOperator, unreachable()),
        _ => None,
    }
}

fn redirected(status: u16) -> XmppError {
    match status {
        301 => error(Condition::Gone, ErrorType::Cancel, "The recipient has another address now"),
        380 => not_acceptable(),
        _ => error(Condition::Redirect, ErrorType::Modify, "The recipient is at another address"),
    }
}

fn refused(status: u16) -> XmppError {
    match status {
        401 => {
            error(Condition::NotAuthorized, ErrorType::Auth, "The recipient's server asks for credentials")
        }
        403 => error(Condition::Forbidden, ErrorType::Auth, "The recipient does not accept this from you"),
        404 | 481 | 484 | 485 => not_found(),
        407 => error(
            Condition::RegistrationRequired,
            ErrorType::Auth,
            "The recipient's server asks for registration",
        ),
        408 => condition_of_silence(),
        410 => error(Condition::Gone, ErrorType::Cancel, "The recipient is no longer here"),
        405 | 420 | 439 => unsupported(),
        406 | 415 | 416 | 421 | 482 | 483 | 488 => not_acceptable(),
        413 | 414 | 440 | 489 => too_much(),
        423 => error(
            Condition::ResourceConstraint,
            ErrorType::Wait,
            "The recipient's server asks to try less often",
        ),
        430 | 480 | 486 | 487 => unavailable(),
        491 => error(Condition::UnexpectedRequest, ErrorType::Wait, "Another request was under way"),
        _ => {
            error(Condition::BadRequest, ErrorType::Modify, "The recipient's server did not understand this")
        }
    }
}

fn failed(status: u16) -> XmppError {
    let text = "The recipient's server has a fault";
    match status {
        501 => unsupported(),
        502 => unreachable(),
        503 => error(Condition::InternalServerError, ErrorType::Wait, text),
        504 => condition_of_silence(),
        505 => not_acceptable(),
        513 => too_much(),
        _ => error(Condition::InternalServerError, ErrorType::Cancel, text),
    }
}

fn no_such_user() -> XmppError {
    error(Condition::ServiceUnavailable, ErrorType::Cancel, "There is no such user, or he takes no messages")
}

fn unreachable() -> XmppError {
    error(Condition::RemoteServerNotFound, ErrorType::Cancel, "The recipient's server cannot be reached")
}

fn not_found() -> XmppError {
    error(Condition::ItemNotFound, ErrorType::Cancel, "There is no such recipient")
}

fn not_acceptable() -> XmppError {
    error(Condition::NotAcceptable, ErrorType::Modify, "The recipient does not take this kind of content")
}

fn unavailable() -> XmppError {
    error(Condition::RecipientUnavailable, ErrorType::Wait, "The recipient is not available now")
}

fn unsupported() -> XmppError {
    error(Condition::FeatureNotImplemented, ErrorType::Cancel, "The recipient's server does not support this")
}

fn too_much() -> XmppError {
    error(Condition::PolicyViolation, ErrorType::Modify, "This is more than the recipient's server allows")
}

fn error(condition: Condition, kind: ErrorType, text: &'static str) -> XmppError {
    XmppError { condition, kind, text, remedy: Remedy::None }
}

#[cfg(test)]
mod tests;
