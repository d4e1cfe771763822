//! The command line: a job and `--key value` pairs. Invariant: an option that a job does not know is an error.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::Outcome;

/// What was asked for.
#[derive(Debug)]
pub struct Args {
    /// The job.
    pub job: String,
    values: BTreeMap<String, String>,
}

impl Args {
    /// Of the words of a command line, without the program's name.
    ///
    /// # Errors
    /// When a word is no option, or an option has no value.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Outcome<Self> {
        let mut words = words.into_iter();
        let job = words.next().ok_or("which job? relay, xmpp, sip, idle or floor")?;
        let mut values = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("{word} is no option"))?;
            let value = words.next().ok_or_else(|| format!("--{name} has no value"))?;
            values.insert(name.to_owned(), value);
        }
        Ok(Self { job, values })
    }

    /// An option's text, which is used up by this.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// An option's value, which is used up by this.
    ///
    /// # Errors
    /// When the text is no such value.
    pub fn get<T: FromStr>(&mut self, name: &str) -> Outcome<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("--{name} cannot be {text:?}"))
    }

    /// The same, where it has to be there.
    ///
    /// # Errors
    /// When it is not, or is no such value.
    pub fn need<T: FromStr>(&mut self, name: &str) -> Outcome<T> {
        self.get(name)?.ok_or_else(|| format!("--{name} is missing"))
    }

    /// A list with commas.
    ///
    /// # Errors
    /// When an item is no such value.
    pub fn list<T: FromStr>(&mut self, name: &str) -> Outcome<Vec<T>> {
        let text = self.text(name).unwrap_or_default();
        let items = text.split(',').filter(|item| !item.is_empty());
        items.map(|item| item.parse().map_err(|_| format!("--{name} cannot hold {item:?}"))).collect()
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// When an option was not used.
    pub fn end(&self) -> Outcome<()> {
        match self.values.keys().next() {
            Some(name) => Err(format!("--{name} is not known to {}", self.job)),
            None => Ok(()),
        }
    }
}
