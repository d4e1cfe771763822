//! The users of the last good load, on disk: what a router starts with that cannot reach its directory. Invariant: the file that bears the name is
//! whole; one that is damaged, of another format, or of another part of a directory is refused, never half taken.
//!
//! Octets: a mark and the version of the format; when the directory was known to say this (seconds since 1970); a fingerprint of what was asked of it; the
//! combinations of traits; the users, each with the number of his; SHA-256 of all that. Numbers are little-endian, texts have their length
//! before them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use sha2::{Digest, Sha256};

use super::ldap::people::People;
use super::ldap::person::Traits;
use crate::config::LdapConfig;

/// The mark, with the version of the format.
const MARK: &[u8; 16] = b"turnout users 1\n";

/// Largest file read, in bytes: more than 20 million users.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// What was kept.
#[derive(Debug)]
pub struct Kept {
    /// The users.
    pub people: People,
    /// When the directory was known to say so, in seconds since 1970.
    pub confirmed_unix: u64,
}

/// What the users of a file were asked for: with another base or filter they would be others.
fn fingerprint(config: &LdapConfig) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(config.base.to_lowercase().as_bytes());
    digest.update([0]);
    digest.update(config.filter.encoded());
    digest.finalize().into()
}

/// Writes the users; they replace those of before when all of them are on disk.
///
/// # Errors
/// What failed, with the file. The old file is still there then.
pub fn write(path: &Path, config: &LdapConfig, people: &People, confirmed_unix: u64) -> Result<(), String> {
    let new = beside(path);
    let written = write_new(&new, config, people, confirmed_unix).and_then(|()| {
        fs::rename(&new, path)?;
        // The name is on disk when its directory is.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
    });
    written.map_err(|error| {
        format!("cannot write {}: {error}; make room, or let turnout write there", path.display())
    })
}

fn write_new(new: &Path, config: &LdapConfig, people: &People, confirmed_unix: u64) -> io::Result<()> {
    // Names of people are nobody else's business.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    let mut out = Hashing { out: BufWriter::new(file), digest: Sha256::new() };
    out.put(MARK)?;
    out.put(&confirmed_unix.to_le_bytes())?;
    out.put(&fingerprint(config))?;
    let mut numbers: HashMap<&Traits, u32> = HashMap::new();
    let mut traits: Vec<&Traits> = Vec::new();
    for (_, _, of) in people.iter() {
        numbers.entry(of).or_insert_with(|| {
            traits.push(of);
            traits.len() as u32 - 1
        });
    }
    out.put(&(traits.len() as u32).to_le_bytes())?;
    for of in traits {
        let flags = u8::from(of.enabled) | u8::from(of.federation_enabled) << 1 | u8::from(of.moving) << 2;
        out.put(&[flags])?;
        for text in [&of.pool, &of.provider, &of.policies] {
            out.text(text.as_bytes())?;
        }
    }
    out.put(&(people.len() as u64).to_le_bytes())?;
    for (id, address, of) in people.iter() {
        out.put(&numbers.get(of).copied().unwrap_or_default().to_le_bytes())?;
        out.text(id)?;
        out.text(address.as_bytes())?;
    }
    let Hashing { mut out, digest } = out;
    out.write_all(&digest.finalize())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

struct Hashing {
    out: BufWriter<File>,
    digest: Sha256,
}

impl Hashing {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.out.write_all(bytes)
    }

    fn text(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes())?;
        self.put(bytes)
    }
}

/// Reads what was kept; `None` if there is no file.
///
/// # Errors
/// Why it cannot be used, with the file.
pub fn read(path: &Path, config: &LdapConfig) -> Result<Option<Kept>, String> {
    let failed =
        |what: &str| format!("{}: {what}; it is written anew with the next good load", path.display());
    let bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(failed("is too large")),
        Ok(_) => fs::read(path).map_err(|error| failed(&error.to_string()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error.to_string())),
    };
    if !bytes.starts_with(MARK) {
        return Err(failed("is no list of users of this version of turnout"));
    }
    let (content, sum) = bytes.split_last_chunk::<32>().ok_or_else(|| failed("is cut short"))?;
    if Sha256::digest(content).as_slice() != sum {
        return Err(failed("is damaged: its checksum is wrong"));
    }
    let mut cut = Cut(content.get(MARK.len()..).unwrap_or_default());
    let (confirmed, asked) = (cut.take::<8>(), cut.take::<32>());
    let (Some(confirmed), Some(asked)) = (confirmed, asked) else { return Err(failed("is cut short")) };
    if asked != fingerprint(config) {
        return Err(failed("holds users of another directory.ldap.base or filter"));
    }
    let people = people(&mut cut).filter(|_| cut.0.is_empty()).ok_or_else(|| failed("is damaged"))?;
    Ok(Some(Kept { people, confirmed_unix: u64::from_le_bytes(confirmed) }))
}

/// What is left to be read.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

fn people(cut: &mut Cut<'_>) -> Option<People> {
    let mut traits = Vec::new();
    for _ in 0..u32::from_le_bytes(cut.take()?) {
        let [flags] = cut.take()?;
        let mut text = || cut.text().map(str::to_owned);
        traits.push(Traits {
            pool: text()?,
            provider: text()?,
            policies: text()?,
            enabled: flags & 1 != 0,
            federation_enabled: flags & 2 != 0,
            moving: flags & 4 != 0,
        });
    }
    let mut people = People::default();
    for _ in 0..u64::from_le_bytes(cut.take()?) {
        let of = traits.get(u32::from_le_bytes(cut.take()?) as usize)?;
        let (id, address) = (cut.bytes()?, cut.text()?);
        people.set(id, address, of.clone());
    }
    Some(people)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{LdapMode, LdapTls};

    fn config(base: &str) -> LdapConfig {
        LdapConfig {
            servers: Vec::new(),
            bind_dn: String::new(),
            password_file: PathBuf::new(),
            base: base.to_owned(),
            filter: "(mail=*)".parse().unwrap(),
            tls: LdapTls::None,
            ca_file: None,
            page_size: 1,
            poll: Duration::ZERO,
            full_reload: Duration::ZERO,
            timeout: Duration::ZERO,
            mode: LdapMode::Full,
            last_good: None,
        }
    }

    #[test]
    fn what_was_kept_comes_back_and_nothing_else_does() {
        let folder = std::env::temp_dir().join(format!("turnout-last-good-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("users");
        let asked = config("DC=contoso");
        assert!(read(&path, &asked).unwrap().is_none());
        let mut people = People::default();
        for n in 0..1000_u32 {
            let traits = Traits {
                pool: format!("pool{}", n % 3),
                policies: "7=6".to_owned(),
                enabled: n % 2 == 0,
                federation_enabled: n % 5 == 0,
                moving: n % 7 == 0,
                ..Traits::default()
            };
            people.set(&n.to_be_bytes(), &format!("sip:user{n}@contoso.com"), traits);
        }
        write(&path, &asked, &people, 1_700_000_000).unwrap();
        let kept = read(&path, &asked).unwrap().unwrap();
        assert!(kept.people == people && kept.confirmed_unix == 1_700_000_000);
        // Over an old one, and over half of one that was not finished.
        fs::write(beside(&path), b"half").unwrap();
        people.set(b"new", "sip:new@contoso.com", Traits::default());
        write(&path, &asked, &people, 1_700_000_001).unwrap();
        assert_eq!(read(&path, &asked).unwrap().unwrap().people.len(), 1001);
        assert!(!beside(&path).exists());

        let refused = |bytes: &[u8], why: &str| {
            fs::write(&path, bytes).unwrap();
            let error = read(&path, &asked).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        let whole = fs::read(&path).unwrap();
        let other = config("DC=other");
        assert!(read(&path, &other).unwrap_err().contains("another directory.ldap.base"));
        for at in [17, 60, 100, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            refused(&bytes, "checksum");
            refused(&whole[..at.max(48)], "checksum");
        }
        refused(b"", "no list of users");
        refused(b"turnout users 2\n and more", "no list of users");
        refused(&whole[..20], "cut short");
        fs::remove_dir_all(&folder).unwrap();
    }
}
