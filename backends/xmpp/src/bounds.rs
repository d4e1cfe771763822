//! What a peer says it takes (XEP-0478). Invariant: a stanza larger than its peer takes is never written, so it cannot cost the stream
//! that others need; nothing a peer says makes a limit smaller than the standard lets it be.

use std::time::Duration;

use bytes::BytesMut;
use turnout_core::limits::STANZA_BYTES_FLOOR;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::run::Run;

use crate::parse::Node;

/// The namespace of the feature.
const NAMESPACE: &str = "urn:xmpp:stream-limits:0";

/// White space goes out no oftener than this, whatever a peer says.
const IDLE_MIN: Duration = Duration::from_secs(2);

/// The limits of a stream; absent ones are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Largest first-level element, in bytes.
    pub bytes_max: Option<usize>,
    /// How long the stream may carry nothing.
    pub idle: Option<Duration>,
}

impl Bounds {
    /// Reads the features a peer shows; what is no number is not said. No peer may take less than 10,000 bytes (RFC 6120 §13.12).
    pub(crate) fn offered(features: Node<'_>) -> Self {
        let is = |node: &Node<'_>, local: &str| node.namespace_name() == NAMESPACE && node.local() == local;
        let Some(limits) = features.children().find(|child| is(child, "limits")) else {
            return Self::default();
        };
        let number = |name: &str| -> Option<u64> {
            limits.children().find(|child| is(child, name))?.text().trim().parse().ok()
        };
        let bytes = |number| usize::try_from(number).unwrap_or(usize::MAX).max(STANZA_BYTES_FLOOR);
        Self {
            bytes_max: number("max-bytes").map(bytes),
            idle: number("idle-seconds").map(|seconds| Duration::from_secs(seconds).max(IDLE_MIN)),
        }
    }

    /// Appends the feature.
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(format!("<limits xmlns='{NAMESPACE}'>").as_bytes());
        if let Some(bytes) = self.bytes_max {
            out.extend_from_slice(format!("<max-bytes>{bytes}</max-bytes>").as_bytes());
        }
        if let Some(idle) = self.idle {
            out.extend_from_slice(format!("<idle-seconds>{}</idle-seconds>", idle.as_secs()).as_bytes());
        }
        out.extend_from_slice(b"</limits>");
    }

    /// Whether the peer takes an element of so many bytes.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.bytes_max.is_none_or(|most| bytes <= most)
    }

    /// Whether the peer takes every stanza of a run.
    pub(crate) fn take_all(&self, run: &Run) -> bool {
        let Some(most) = self.bytes_max else { return true };
        run.left().iter().all(|head| run.written_len(head) <= most)
    }

    /// Why a stanza of so many bytes cannot be sent; trying again would be no use.
    pub(crate) fn refusal(&self, bytes: usize) -> Refusal {
        let most = self.bytes_max.unwrap_or_default();
        let text = format!("the remote server takes no more than {most} bytes in one stanza");
        Refusal::new(Condition::PolicyViolation, Blame::NextHop, Retry::Never, Bounce::Yes, text)
            .with_detail(format!("the stanza has {bytes} bytes"))
    }
}
