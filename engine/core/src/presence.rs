//! What the configuration says about presence. Invariant: data alone, without a default that hides a decision: every figure is
//! explained in `config/turnout.toml`.

use std::sync::Arc;
use std::time::Duration;

/// `<show/>`, RFC 6121 §4.7.2.1. Available without it is `None` of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Show {
    /// Free for chat.
    Chat,
    /// Away.
    Away,
    /// Away for longer.
    Xa,
    /// Busy: do not disturb.
    Dnd,
}

impl Show {
    /// The word of the standard.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Away => "away",
            Self::Xa => "xa",
            Self::Dnd => "dnd",
        }
    }

    /// The show of this word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Chat, Self::Away, Self::Xa, Self::Dnd].into_iter().find(|show| show.as_str() == word)
    }
}

/// The `[presence]` table of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceRules {
    /// There is a store: what is told to others waits until it is on disk.
    pub durable: bool,
    /// A partner's user who is shown as available to a pool is asked again after this, so that nobody stays available for ever
    /// whose server has died.
    pub check: Duration,
    /// Longest life of a SIP subscription without refresh (`SubscriptionRefreshInterval` of the legacy gateway), and the time
    /// after which a legacy gateway is asked anew how all its watched users are.
    pub subscription: Duration,
    /// Longest life a pool's subscription to a partner's user is granted. After a crash of the router, which ends no
    /// subscription, the pool may believe his last state for as long.
    pub lease: Duration,
    /// A pool or a gateway that cannot be reached for so long leaves its users shown as unavailable.
    pub stale: Duration,
    /// Probes and requests sent to one partner domain, and subscriptions sent to one pool, in one second, when many are due.
    pub per_second: u32,
    /// Offer `application/msrtc-event-categories+xml` to pools of dialect `skype`, before PIDF.
    pub rich: bool,
    /// What an activity (RFC 4480, or the older draft) means in XMPP, in lower case; one that is not here means nothing.
    pub activities: Arc<[(Arc<str>, Show)]>,
}

/// What activities mean unless configured.
pub const ACTIVITIES: [(&str, Show); 21] = [
    ("away", Show::Away),
    ("meal", Show::Away),
    ("breakfast", Show::Away),
    ("dinner", Show::Away),
    ("in-transit", Show::Away),
    ("steering", Show::Away),
    ("shopping", Show::Away),
    ("looking-for-work", Show::Away),
    ("sleeping", Show::Xa),
    ("vacation", Show::Xa),
    ("holiday", Show::Xa),
    ("travel", Show::Xa),
    ("permanent-absence", Show::Xa),
    ("worship", Show::Xa),
    ("busy", Show::Dnd),
    ("on-the-phone", Show::Dnd),
    ("meeting", Show::Dnd),
    ("presentation", Show::Dnd),
    ("performance", Show::Dnd),
    ("spectator", Show::Dnd),
    ("appointment", Show::Dnd),
];

impl Default for PresenceRules {
    fn default() -> Self {
        Self {
            durable: false,
            check: Duration::from_secs(600),
            subscription: Duration::from_secs(28_800),
            lease: Duration::from_secs(3_600),
            stale: Duration::from_secs(60),
            per_second: 200,
            rich: false,
            activities: ACTIVITIES.iter().map(|(word, show)| ((*word).into(), *show)).collect(),
        }
    }
}

impl PresenceRules {
    /// What an activity means.
    pub fn show_of(&self, activity: &str) -> Option<Show> {
        self.activities.iter().find(|(word, _)| word.eq_ignore_ascii_case(activity)).map(|(_, show)| *show)
    }
}
