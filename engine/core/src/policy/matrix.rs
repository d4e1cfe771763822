//! The legacy gateway's table of TLS, SASL and dialback settings, as data.
//!
//! Two rules shape it: SASL runs over TLS only, and dialback rests where TLS and SASL are both required. Five of
//! its rows leave no way to authenticate a partner and are therefore invalid.

use super::Negotiation::{self, NotSupported, Optional, Required};

/// The ways in which a partner may be authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Methods {
    /// SASL EXTERNAL with the certificate of the TLS layer (XEP-0178).
    pub sasl_over_tls: bool,
    /// Server dialback inside TLS (XEP-0220).
    pub tls_dialback: bool,
    /// Server dialback over plain TCP.
    pub tcp_dialback: bool,
}

impl Methods {
    /// What the table says for the three settings, less dialback over plain TCP where `require_tls_for_dialback`.
    /// `None` when nothing is left.
    pub fn of(
        tls: Negotiation,
        sasl: Negotiation,
        dialback: bool,
        require_tls_for_dialback: bool,
    ) -> Option<Self> {
        let row = MATRIX.iter().find(|row| row.tls == tls && row.sasl == sasl && row.dialback == dialback)?;
        let mut methods = row.methods?;
        if require_tls_for_dialback {
            methods.tcp_dialback = false;
        }
        methods.any().then_some(methods)
    }

    /// Whether there is any way at all.
    pub fn any(self) -> bool {
        self.sasl_over_tls || self.tls_dialback || self.tcp_dialback
    }

    /// Whether dialback may run in some form.
    pub fn dialback(self) -> bool {
        self.tls_dialback || self.tcp_dialback
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixRow {
    /// `TlsNegotiation`.
    pub tls: Negotiation,
    /// `SaslNegotiation`.
    pub sasl: Negotiation,
    /// `SupportDialbackNegotiation`.
    pub dialback: bool,
    /// The ways allowed; `None` for an invalid row.
    pub methods: Option<Methods>,
}

const SASL: u8 = 1;
const TLS_DIALBACK: u8 = 2;
const TCP_DIALBACK: u8 = 4;

/// All combinations, in the order of the legacy documents. Where those contradict themselves (TLS required with
/// SASL optional) the row that keeps plain TCP out is taken, as TLS is required.
#[rustfmt::skip]
pub const MATRIX: [MatrixRow; 18] = [
    row(Required,     Required,     true,  SASL),
    row(Required,     Required,     false, SASL),
    row(Optional,     Required,     true,  SASL | TLS_DIALBACK | TCP_DIALBACK),
    row(Optional,     Required,     false, SASL),
    row(NotSupported, Required,     true,  TCP_DIALBACK),
    row(NotSupported, Required,     false, 0),
    row(Required,     Optional,     true,  SASL | TLS_DIALBACK),
    row(Required,     Optional,     false, SASL),
    row(Optional,     Optional,     true,  SASL | TLS_DIALBACK | TCP_DIALBACK),
    row(Optional,     Optional,     false, SASL),
    row(NotSupported, Optional,     true,  TCP_DIALBACK),
    row(NotSupported, Optional,     false, 0),
    row(Required,     NotSupported, true,  TLS_DIALBACK),
    row(Required,     NotSupported, false, 0),
    row(Optional,     NotSupported, true,  TLS_DIALBACK | TCP_DIALBACK),
    row(Optional,     NotSupported, false, 0),
    row(NotSupported, NotSupported, true,  TCP_DIALBACK),
    row(NotSupported, NotSupported, false, 0),
];

const fn row(tls: Negotiation, sasl: Negotiation, dialback: bool, ways: u8) -> MatrixRow {
    let methods = Methods {
        sasl_over_tls: ways & SASL != 0,
        tls_dialback: ways & TLS_DIALBACK != 0,
        tcp_dialback: ways & TCP_DIALBACK != 0,
    };
    MatrixRow { tls, sasl, dialback, methods: if ways == 0 { None } else { Some(methods) } }
}
