//! What is wrong with a configuration. Invariant: a mistake always says where it is, what it is and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One mistake in a configuration, or in a file it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The configuration file.
    pub file: PathBuf,
    /// The line, from 1; `None` where the mistake is that something is not there.
    pub line: Option<usize>,
    /// The key, with the tables it stands in: `home.legacy.tls`. Empty where the file as a whole is at fault.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub cure: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        if !self.cure.is_empty() {
            write!(f, "; {}", self.cure)?;
        }
        Ok(())
    }
}

/// All mistakes found, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigErrors(pub Vec<Mistake>);

impl ConfigErrors {
    /// A single mistake about a file as a whole.
    pub fn file(file: &Path, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self(vec![Mistake {
            file: file.to_owned(),
            line: None,
            key: String::new(),
            what: what.into(),
            cure: cure.into(),
        }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
