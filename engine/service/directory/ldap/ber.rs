//! The basic encoding rules of ASN.1, as far as LDAP uses them (RFC 4511 §5.1): definite lengths, one octet of tag. Invariant:
//! reading is linear, allocates nothing and never looks beyond the octets it was given; nothing here calls itself.

/// `SEQUENCE`.
pub(super) const SEQUENCE: u8 = 0x30;
/// `SET`.
pub(super) const SET: u8 = 0x31;
/// `INTEGER`.
pub(super) const INTEGER: u8 = 0x02;
/// `OCTET STRING`.
pub(super) const OCTETS: u8 = 0x04;
/// `ENUMERATED`.
pub(super) const ENUMERATED: u8 = 0x0A;
/// `BOOLEAN`.
pub(super) const BOOLEAN: u8 = 0x01;

/// Octets a header can have: a tag, a count of octets of length, and four of these.
pub(super) const HEADER_MAX: usize = 6;

/// The octets are no such encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The tag, the length of the header and the length of the content; `None` if the octets end within the header.
pub(super) fn header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, Malformed> {
    let (Some(&tag), Some(&first)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
    // A tag of several octets is not used by LDAP.
    if tag & 0x1F == 0x1F {
        return Err(Malformed);
    }
    let more = match first {
        0..=0x7F => return Ok(Some((tag, 2, usize::from(first)))),
        // 0x80 would be an indefinite length, which RFC 4511 forbids.
        0x81..=0x84 => usize::from(first & 0x7F),
        _ => return Err(Malformed),
    };
    let Some(digits) = bytes.get(2..2 + more) else { return Ok(None) };
    let length = digits.iter().fold(0_usize, |length, &digit| length << 8 | usize::from(digit));
    Ok(Some((tag, 2 + more, length)))
}

/// Reads one element after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element.
    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, whatever it is.
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (tag, head, length) = header(self.0)?.ok_or(Malformed)?;
        let end = head.checked_add(length).ok_or(Malformed)?;
        let content = self.0.get(head..end).ok_or(Malformed)?;
        self.0 = &self.0[end..];
        Ok((tag, content))
    }

    /// The content of the next element, which has to have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// The elements within the next, which has to have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Result<Self, Malformed> {
        self.take(tag).map(Self)
    }

    /// A whole number of up to eight octets.
    pub(super) fn number(&mut self, tag: u8) -> Result<i64, Malformed> {
        let content = self.take(tag)?;
        let first = *content.first().filter(|_| content.len() <= 8).ok_or(Malformed)?;
        let sign = if first & 0x80 == 0 { 0 } else { -1 };
        Ok(content.iter().fold(sign, |number, &digit| number << 8 | i64::from(digit)))
    }

    /// Octets that are text.
    pub(super) fn text(&mut self, tag: u8) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.take(tag)?).map_err(|_| Malformed)
    }
}

/// Appends an element whose content `fill` appends.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let begin = out.len();
    fill(out);
    let length = out.len() - begin;
    if length < 0x80 {
        out.insert(begin, length as u8);
        return;
    }
    let digits = length.to_be_bytes();
    let digits = &digits[digits.iter().take_while(|&&digit| digit == 0).count()..];
    out.splice(begin..begin, std::iter::once(0x80 | digits.len() as u8).chain(digits.iter().copied()));
}

/// Appends octets.
pub(super) fn put_octets(out: &mut Vec<u8>, tag: u8, octets: &[u8]) {
    put(out, tag, |out| out.extend_from_slice(octets));
}

/// Appends a whole number, in as few octets as it needs.
pub(super) fn put_number(out: &mut Vec<u8>, tag: u8, number: i64) {
    let octets = number.to_be_bytes();
    let mut octets = octets.as_slice();
    while let [first, second, ..] = octets
        && (*first == 0 && second & 0x80 == 0 || *first == 0xFF && second & 0x80 != 0)
    {
        octets = &octets[1..];
    }
    put_octets(out, tag, octets);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths_come_back() {
        for number in
            [0, 1, 127, 128, 255, 256, -1, -128, -129, 0x7FFF_FFFF, -0x8000_0000, i64::MAX, i64::MIN]
        {
            let mut out = Vec::new();
            put_number(&mut out, INTEGER, number);
            assert_eq!(Reader::new(&out).number(INTEGER), Ok(number), "{number}: {out:?}");
        }
        // What DirSync's highest flag has to look like on the wire: four octets, negative.
        let mut out = Vec::new();
        put_number(&mut out, INTEGER, i64::from(0x8000_0000_u32.cast_signed()));
        assert_eq!(out, [2, 4, 0x80, 0, 0, 0]);
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let mut out = Vec::new();
            put_octets(&mut out, OCTETS, &vec![7; length]);
            assert_eq!(Reader::new(&out).take(OCTETS).map(<[u8]>::len), Ok(length));
            for cut in 0..out.len().min(300) {
                assert_eq!(Reader::new(&out[..cut]).next(), Err(Malformed), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_ldap_does_not_use_is_refused() {
        for bytes in
            [&[0x1F, 1, 0][..], &[0x30, 0x80, 0, 0], &[0x30, 0x85, 0, 0, 0, 0, 1, 0], &[0x30, 0xFF, 0]]
        {
            assert_eq!(header(bytes), Err(Malformed), "{bytes:x?}");
        }
        assert_eq!(header(&[0x30]), Ok(None));
        assert_eq!(header(&[0x30, 0x82, 1]), Ok(None));
        assert_eq!(Reader::new(&[2, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1]).number(INTEGER), Err(Malformed));
        assert_eq!(Reader::new(&[2, 0]).number(INTEGER), Err(Malformed));
    }
}
