//! A pool that says anything, while a session is begun and a subscription is asked for: only local users speak, to partners alone.

use bytes::Bytes;
use turnout_core::backend::Backend;
use turnout_core::contact::Contact;

use crate::support::{Rig, Setup};

pub fn pool(bytes: &[u8]) {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    rig.chat(link, "bob@partner.example/phone", "alice@contoso.com", "hi");
    let probe =
        rig.stanza("<presence from='bob@partner.example' to='alice@contoso.com' type='probe'></presence>");
    let contact = Contact { from: true, ..Contact::default() };
    rig.with(0, |now, backend, out| drop(backend.presence(now, link, probe, &contact, out)));
    let bytes = Bytes::copy_from_slice(bytes);
    rig.with(0, |now, backend, out| drop(backend.receive(now, link, bytes, out)));
    for stanza in &rig.arrivals {
        assert_eq!((stanza.from.domain(), stanza.to.domain()), ("contoso.com", "partner.example"));
    }
    rig.pass(std::time::Duration::from_secs(100));
}
