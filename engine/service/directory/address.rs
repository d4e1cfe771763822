//! From the SIP address of an export to the text of an XMPP address (RFC 7247 §5, XEP-0106).

/// Characters an XMPP local part cannot hold, with what stands for them (XEP-0106 §4).
const ESCAPES: [(char, &str); 10] = [
    (' ', "20"),
    ('"', "22"),
    ('&', "26"),
    ('\'', "27"),
    ('/', "2f"),
    (':', "3a"),
    ('<', "3c"),
    ('>', "3e"),
    ('@', "40"),
    ('\\', "5c"),
];

/// `sip:user@domain`, the scheme in any case or missing, to `local@domain`, not yet prepared. Refuses whatever a
/// user's own address does not have: parameters, headers, a password. The error says what is wrong. Overwrites `jid`, and
/// allocates nothing else for an address of letters, digits and the marks below.
pub(super) fn jid_text(sip: &str, jid: &mut String) -> Result<(), &'static str> {
    jid.clear();
    let address = match sip.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("sip:") => &sip[4..],
        _ => sip,
    };
    let (user, domain) = address.split_once('@').ok_or("is not of the form sip:user@domain")?;
    if domain.contains([';', '?', '/']) {
        return Err("has something after the domain, which a user's own address has not");
    }
    if user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        jid.push_str(address);
        return Ok(());
    }
    let user = decode(user)?;
    if user.starts_with(' ') || user.ends_with(' ') {
        return Err("begins or ends with a blank, which XEP-0106 does not allow");
    }
    for (at, c) in user.char_indices() {
        match ESCAPES.iter().find(|(escaped, _)| *escaped == c) {
            // A backslash stands for itself unless what follows would make it an escape.
            Some(('\\', _)) if !looks_like_escape(&user[at + 1..]) => jid.push('\\'),
            Some((_, code)) => {
                jid.push('\\');
                jid.push_str(code);
            }
            None => jid.push(c),
        }
    }
    jid.push('@');
    jid.push_str(domain);
    Ok(())
}

/// Whether a backslash before this text would be read as an escape. Any case, as preparation folds it.
fn looks_like_escape(rest: &str) -> bool {
    rest.get(..2).is_some_and(|code| ESCAPES.iter().any(|(_, escape)| escape.eq_ignore_ascii_case(code)))
}

/// Takes `%HH` apart (RFC 3261 §25.1). Characters beyond ASCII are taken as they are: an export holds text, not
/// octets of a SIP message.
fn decode(user: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        let plain = byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"-_.!~*'()&=+$,;?/".contains(&byte);
        if plain {
            bytes.push(byte);
        } else if byte == b'%' {
            let mut digit = || rest.next().and_then(|&digit| char::from(digit).to_digit(16));
            match (digit(), digit()) {
                (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                _ => return Err("has a % that two hexadecimal digits do not follow"),
            }
        } else {
            return Err("has a character in its user part that must be written as % and two digits");
        }
    }
    String::from_utf8(bytes).map_err(|_| "does not decode to UTF-8")
}
