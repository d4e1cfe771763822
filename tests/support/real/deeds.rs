//! What a play has a node of a pool do, beside having its users write. Invariant: a deed is one request, in the dialog it belongs to.

use super::pool::{Dialog, PoolPeer, address, answer, header, request};
use crate::support::peer::{Act, Deed, PeerOut};

impl PoolPeer {
    /// Does it, if it is this node's to do.
    pub(super) fn do_it(&mut self, deed: &Deed, out: &mut PeerOut<'_>) -> bool {
        let pair = (deed.local.clone(), deed.partner.clone());
        let name = self.name;
        let request = match &deed.act {
            Act::Subscribe => {
                let conn = self.way(None, out);
                Some((conn, self.events.subscribe(conn, pair, &deed.headers, name)))
            }
            Act::Refresh => self.events.refresh(&pair, &deed.headers, name),
            Act::Notify(state) => self.events.notify(&pair, state, &deed.body, name),
            Act::Send(method) if self.sessions => self.within(&pair, method, deed),
            Act::Send(method) => {
                let conn = self.way(None, out);
                Some((conn, self.alone(conn, pair, method, (&deed.headers, &deed.body))))
            }
        };
        let Some((conn, text)) = request else { return false };
        let conn = self.way(Some(conn), out);
        out.send(conn, text);
        true
    }

    /// This connection if it still stands, else the one of our own.
    pub(super) fn way(&mut self, conn: Option<u64>, out: &mut PeerOut<'_>) -> u64 {
        match conn.filter(|conn| self.conns.contains_key(conn) || self.outbound == Some(*conn)) {
            Some(conn) => conn,
            None => *self.outbound.get_or_insert_with(|| out.open()),
        }
    }

    /// A request in the session of a pair.
    fn within(&mut self, pair: &(String, String), method: &str, deed: &Deed) -> Option<(u64, String)> {
        let branch = self.next();
        let (call, dialog) = self.dialogs.iter_mut().find(|(_, dialog)| dialog.pair == *pair)?;
        dialog.cseq += 1;
        let text = request(method, call, dialog, self.name, dialog.cseq, branch, &deed.headers, &deed.body);
        let (call, conn) = (call.clone(), dialog.conn);
        if method == "BYE" {
            self.dialogs.remove(&call);
        }
        Some((conn, text))
    }

    /// A request of its own.
    pub(super) fn alone(
        &mut self,
        conn: u64,
        pair: (String, String),
        method: &str,
        (headers, body): (&str, &str),
    ) -> String {
        let branch = self.next();
        let dialog = Dialog::new(conn, branch, pair);
        let call = format!("m{branch}@{}", self.name);
        request(method, &call, &dialog, self.name, 1, branch, headers, body)
    }

    /// A SUBSCRIBE of the router.
    pub(super) fn watched(&mut self, conn: u64, text: &str, out: &mut PeerOut<'_>) {
        let answer = self.events.subscribed(conn, text, self.name);
        out.send(conn, answer);
    }

    /// A MESSAGE outside of any session.
    pub(super) fn paged(&self, conn: u64, text: &str, out: &mut PeerOut<'_>) {
        let known = address(&header(text, "To")).ends_with("@contoso.com");
        let (code, reason) = if known { (200, "OK") } else { (404, "Not Found") };
        out.send(conn, answer(text, code, reason, "", ""));
    }
}
