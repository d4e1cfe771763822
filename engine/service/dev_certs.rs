//! A private authority and certificates for trying things out, the demo and tests.
//!
//! Invariant: keys are written readable by their owner alone, and no file is overwritten: an authority somebody already trusts is
//! never replaced by accident.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// The hosts certificates are made for unless others are named: a local domain, a partner, the legacy gateway, ourselves as the
/// 2019 pool knows us, and the pool.
pub const NAMES: [&str; 5] =
    ["contoso.com", "partner.example", "gateway.contoso.com", "turnout.contoso.com", "pool2019.contoso.com"];

/// Users to go with them, as `Get-CsUser | Export-Csv` writes them: one on each of two legacy pools, one on the 2019 pool.
const USERS: &str = "#TYPE Microsoft.Rtc.Management.ADConnect.Schema.OCSADUser\r\n\
    \"SipAddress\",\"RegistrarPool\",\"HostingProvider\",\"EnabledForFederation\",\"Enabled\"\r\n\
    \"sip:anna@contoso.com\",\"sfb2015.contoso.com\",\"SRV:\",\"True\",\"True\"\r\n\
    \"sip:bert@contoso.com\",\"lync2013.contoso.com\",\"SRV:\",\"True\",\"True\"\r\n\
    \"sip:carla@contoso.com\",\"pool2019.contoso.com\",\"SRV:\",\"True\",\"True\"\r\n";

/// How long the certificates hold.
const VALID: Duration = Duration::from_secs(397 * 86_400);

/// How far back their validity begins, for clocks that differ.
const BACKDATED: Duration = Duration::from_secs(86_400);

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// The files, in the order they were written.
    pub files: Vec<PathBuf>,
}

/// An authority and its certificates, in memory.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    now: SystemTime,
}

impl Authority {
    /// A new authority, valid from a day before `now`.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn new(now: SystemTime) -> Result<Self, rcgen::Error> {
        let mut params = params(Vec::new(), "turnout development CA", now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?, now })
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its private key, PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for a host or domain, good for servers and clients, and its key: both PEM. `localhost` and the loopback
    /// addresses are no names of it.
    ///
    /// # Errors
    /// When the name is none, or keys cannot be made.
    pub fn issue(&self, name: &str) -> Result<(String, String), rcgen::Error> {
        let mut params = params(vec![name.to_owned()], name, self.now)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// Writes `ca.pem`, `ca.key`, and `NAME.pem`, `NAME.key` for each name into a directory, which is made if it is not there; with the
/// usual names also `users.csv`, so that the embedded default configuration can run from there.
///
/// # Errors
/// When a name is unfit for a file or a certificate, or a file cannot be written, also because it is there already.
pub fn write(directory: &Path, names: &[String], now: SystemTime) -> io::Result<Written> {
    for name in names {
        let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.starts_with('.') || name == "ca" || !name.chars().all(fit) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no host name")));
        }
    }
    fs::create_dir_all(directory).map_err(|error| named(directory, &error))?;
    let authority = Authority::new(now).map_err(io::Error::other)?;
    let mut written = Written { files: Vec::new() };
    let mut put = |name: String, content: &str, mode: u32| -> io::Result<()> {
        let path = directory.join(name);
        create(&path, content, mode).map_err(|error| named(&path, &error))?;
        written.files.push(path);
        Ok(())
    };
    put("ca.pem".to_owned(), &authority.pem(), 0o644)?;
    put("ca.key".to_owned(), &authority.key_pem(), 0o600)?;
    let usual = names.is_empty();
    let usual_names: Vec<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
    for name in if usual { &usual_names } else { names } {
        let (certificate, key) = authority.issue(name).map_err(io::Error::other)?;
        put(format!("{name}.pem"), &certificate, 0o644)?;
        put(format!("{name}.key"), &key, 0o600)?;
    }
    if usual {
        put("users.csv".to_owned(), USERS, 0o644)?;
    }
    Ok(written)
}

/// A directory of its own with what [`write`] makes, for running on the embedded default; gone when dropped.
#[derive(Debug)]
pub struct Trial {
    directory: PathBuf,
}

impl Trial {
    /// Makes it, readable by its owner alone, below the directory for temporary files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(now: SystemTime) -> io::Result<Self> {
        let number = crate::resolve::system_random()(u64::MAX);
        let directory = std::env::temp_dir().join(format!("turnout-trial-{number:016x}"));
        DirBuilder::new().mode(0o700).create(&directory).map_err(|error| named(&directory, &error))?;
        let trial = Self { directory };
        write(&trial.directory, &[], now)?;
        Ok(trial)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("cannot remove {}: {error}", self.directory.display());
        }
    }
}

fn params(names: Vec<String>, common_name: &str, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + VALID).into();
    Ok(params)
}

fn create(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content.as_bytes())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Config;
    use crate::tls::TlsContext;

    #[test]
    fn a_trial_cleans_up() {
        let trial = Trial::new(SystemTime::UNIX_EPOCH + VALID).unwrap();
        let path = trial.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(path.join("users.csv").exists());
        drop(trial);
        assert!(!path.exists());
    }

    #[test]
    fn the_embedded_default_runs_on_what_is_written() {
        let directory = std::env::temp_dir().join(format!("turnout-dev-certs-{}", std::process::id()));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let written = write(&directory, &[], now).unwrap();
        assert_eq!(written.files.len(), 2 + 2 * NAMES.len() + 1);
        for file in written.files.iter().filter(|file| file.extension().is_some_and(|e| e == "key")) {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let config = Config::embedded(&directory).unwrap();
        TlsContext::load(&config).unwrap();
        let world = config.world(1, config.dialback_secret([1; 32]).unwrap()).unwrap();
        assert_eq!(&*world.sip.values().next().unwrap().our_name, "turnout.contoso.com");
        let again = write(&directory, &[], now).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(again.to_string().contains("ca.pem"));
        fs::remove_dir_all(&directory).unwrap();
        assert!(write(&directory, &["../x".to_owned()], now).is_err());
        assert!(!directory.exists());
    }
}
