//! Reading TOML tables key by key. Invariant: a key nobody asked for is a mistake, and a value that cannot be used is noted and
//! read as absent, so that one pass finds all mistakes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistakes::Mistake;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// The line, from 1; `None` for what is not there.
    pub(super) line: Option<usize>,
    /// The key with its tables.
    pub(super) key: String,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// A configuration file being read.
pub(super) struct Book<'a> {
    file: &'a Path,
    pub(super) base: &'a Path,
    line_starts: Vec<usize>,
    mistakes: RefCell<Vec<Mistake>>,
    known: RefCell<BTreeSet<String>>,
    files: RefCell<Vec<At<PathBuf>>>,
}

impl<'a> Book<'a> {
    /// `base` is the directory relative paths start from.
    pub(super) fn new(text: &str, file: &'a Path, base: &'a Path) -> Self {
        let line_starts = std::iter::once(0).chain(memchr_lines(text)).collect();
        Self {
            file,
            base,
            line_starts,
            mistakes: RefCell::default(),
            known: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }

    /// Notes a mistake.
    pub(super) fn wrong(&self, spot: &Spot, what: impl Into<String>, cure: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake {
            file: self.file.to_owned(),
            line: spot.line,
            key: spot.key.clone(),
            what: what.into(),
            cure: cure.into(),
        });
    }

    /// Whether a mistake was noted.
    pub(super) fn has_mistakes(&self) -> bool {
        !self.mistakes.borrow().is_empty()
    }

    /// The mistakes, in the order of the file.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
        mistakes
    }

    /// Every key that was asked for, as `table.key`; names of homes are `NAME`.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }

    /// The files named so far that have to exist.
    pub(super) fn files(&self) -> Vec<At<PathBuf>> {
        self.files.borrow().clone()
    }
}

fn memchr_lines(text: &str) -> impl Iterator<Item = usize> {
    text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1)
}

/// One table, which may be absent.
pub(super) struct Table<'b, 'a> {
    pub(super) book: &'b Book<'a>,
    /// Its path for mistakes: `home.legacy`.
    path: String,
    /// Its path with names replaced: `home.NAME`.
    shape: String,
    line: Option<usize>,
    content: Option<&'b DeTable<'b>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'b, 'a> Table<'b, 'a> {
    /// The whole file.
    pub(super) fn root(book: &'b Book<'a>, content: &'b DeTable<'b>) -> Self {
        Self::new(book, String::new(), String::new(), None, Some(content))
    }

    fn new(
        book: &'b Book<'a>,
        path: String,
        shape: String,
        line: Option<usize>,
        content: Option<&'b DeTable<'b>>,
    ) -> Self {
        Self { book, path, shape, line, content, asked: RefCell::default() }
    }

    /// Where the table begins.
    pub(super) fn spot(&self) -> Spot {
        Spot { line: self.line, key: self.path.clone() }
    }

    /// Where a key stands, or where its table begins.
    pub(super) fn spot_of(&self, key: &str) -> Spot {
        let line =
            self.content.and_then(|table| table.get(key)).map(|value| self.book.line(value.span().start));
        Spot { line: line.or(self.line), key: join(&self.path, key) }
    }

    /// Whether a key is given.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&self, key: &str, cure: impl Into<String>) {
        self.book.wrong(&self.spot_of(key), "missing", cure);
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> Option<At<String>> {
        let value = self.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.mistyped(key, value, "a text in quotes");
            return None;
        };
        Some(At { value: text.to_owned(), spot: self.spot_of(key) })
    }

    /// A text that is read as something else.
    pub(super) fn parsed<T>(&self, key: &'static str) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        let At { value, spot } = self.text(key)?;
        match value.parse() {
            Ok(value) => Some(At { value, spot }),
            Err(error) => {
                self.book.wrong(&spot, error_text(&value, &error), cure_of(&error));
                None
            }
        }
    }

    /// A list of texts, each read as something else.
    pub(super) fn list<T>(&self, key: &'static str) -> Option<Vec<At<T>>>
    where
        T: FromStr<Err: Display>,
    {
        let value = self.get(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.mistyped(key, value, "a list, [\"…\"]");
            return None;
        };
        let mut made = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let spot = Spot {
                line: Some(self.book.line(item.span().start)),
                key: format!("{}[{n}]", join(&self.path, key)),
            };
            let Some(text) = item.get_ref().as_str() else {
                let what = format!("is {}, not a text", named(item.get_ref()));
                self.book.wrong(&spot, what, "write it in quotes");
                continue;
            };
            match text.parse() {
                Ok(value) => made.push(At { value, spot }),
                Err(error) => self.book.wrong(&spot, error_text(text, &error), cure_of(&error)),
            }
        }
        Some(made)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.mistyped(key, value, "true or false, without quotes");
        }
        flag
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, key: &'static str, allowed: RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            self.mistyped(key, value, "a whole number, without quotes");
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let fit = number.and_then(|n| u64::try_from(n).ok()).filter(|n| allowed.contains(n));
        if fit.is_none() {
            let what = format!("{} is out of bounds", integer.as_str());
            self.book.wrong(
                &self.spot_of(key),
                what,
                format!("give a number from {} to {}", allowed.start(), allowed.end()),
            );
        }
        fit
    }

    /// A path, relative to the configuration file.
    pub(super) fn path(&self, key: &'static str) -> Option<PathBuf> {
        let At { value, spot } = self.text(key)?;
        if value.is_empty() {
            self.book.wrong(&spot, "is empty", "give a path, or remove the key");
            return None;
        }
        Some(self.book.base.join(value))
    }

    /// The path of a file that has to exist.
    pub(super) fn file(&self, key: &'static str) -> Option<PathBuf> {
        let path = self.path(key)?;
        self.book.files.borrow_mut().push(At { value: path.clone(), spot: self.spot_of(key) });
        Some(path)
    }

    /// A table inside this one; absent is empty.
    pub(super) fn table(&self, key: &'static str) -> Self {
        let (path, shape) = (join(&self.path, key), join(&self.shape, key));
        let Some(value) = self.get(key) else {
            return Self::new(self.book, path, shape, None, None);
        };
        let content = value.get_ref().as_table();
        if content.is_none() {
            self.mistyped(key, value, &format!("a table, [{path}]"));
        }
        Self::new(self.book, path, shape, Some(self.book.line(value.span().start)), content)
    }

    /// `[[key]]` tables.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Self> {
        let (path, shape) = (join(&self.path, key), join(&self.shape, key));
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.mistyped(key, value, &format!("a list of tables, [[{path}]]"));
            return Vec::new();
        };
        let mut made = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let line = Some(self.book.line(item.span().start));
            let path = format!("{path}[{n}]");
            match item.get_ref().as_table() {
                Some(content) => {
                    made.push(Self::new(self.book, path, shape.clone(), line, Some(content)));
                }
                None => {
                    let what = format!("is {}, not a table", named(item.get_ref()));
                    self.book.wrong(&Spot { line, key: path }, what, "write it as [[…]] tables");
                }
            }
        }
        made
    }

    /// `[key.NAME]` tables with their names, in the order of the file.
    pub(super) fn named_tables(&self, key: &'static str) -> Vec<(String, Self)> {
        let outer = self.table(key);
        let Some(content) = outer.content else {
            return Vec::new();
        };
        let mut made = Vec::new();
        for (name, value) in content {
            let path = join(&outer.path, name.get_ref());
            let line = Some(self.book.line(name.span().start));
            match value.get_ref().as_table() {
                Some(inner) => {
                    let shape = join(&outer.shape, "NAME");
                    made.push((
                        name.get_ref().to_string(),
                        Self::new(self.book, path, shape, line, Some(inner)),
                    ));
                }
                None => self.book.wrong(
                    &Spot { line, key: path.clone() },
                    format!("is {}, not a table", named(value.get_ref())),
                    format!("write [{path}] and its keys below"),
                ),
            }
        }
        made.sort_by_key(|(_, table)| table.line);
        made
    }

    /// All keys of a table whose keys are the file's own choice, with their texts, in the order of the file.
    pub(super) fn words(&self) -> Vec<(String, At<String>)> {
        let mut made = Vec::new();
        for (key, value) in self.content.into_iter().flat_map(|content| content.iter()) {
            let (line, key) = (Some(self.book.line(key.span().start)), key.get_ref().to_string());
            let spot = Spot { line, key: join(&self.path, &key) };
            match value.get_ref().as_str() {
                Some(text) => made.push((key, At { value: text.to_owned(), spot })),
                None => {
                    let what = format!("is {}", named(value.get_ref()));
                    self.book.wrong(&spot, what, "write a text in quotes");
                }
            }
        }
        made.sort_by_key(|(_, at)| at.spot.line);
        made
    }

    /// Every key has been asked for: what is left over is unknown.
    pub(super) fn finish(&self) {
        let Some(content) = self.content else { return };
        let asked = self.asked.borrow();
        for (key, _) in content {
            let name: &str = key.get_ref();
            if asked.contains(name) {
                continue;
            }
            let spot = Spot { line: Some(self.book.line(key.span().start)), key: join(&self.path, name) };
            let cure = match asked.iter().min_by_key(|known| distance(name, known)) {
                Some(near) if distance(name, near) <= 2 => format!("did you mean `{near}`?"),
                _ => format!("allowed here: {}", asked.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.book.wrong(&spot, "unknown key", cure);
        }
    }

    fn get(&self, key: &'static str) -> Option<&'b Spanned<DeValue<'b>>> {
        self.asked.borrow_mut().insert(key);
        self.book.known.borrow_mut().insert(join(&self.shape, key));
        self.content?.get(key)
    }

    fn mistyped(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let what = format!("is {}", named(value.get_ref()));
        self.book.wrong(&self.spot_of(key), what, format!("write {wanted}"));
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A value's type, as one reads it.
fn named(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The first clause of an error, with the text it is about.
fn error_text(given: &str, error: &impl Display) -> String {
    let text = error.to_string();
    let what = text.split_once("; ").map_or(text.as_str(), |(what, _)| what);
    let shown: String = given.chars().take(80).collect();
    if what.contains(&format!("{shown:?}")) { what.to_owned() } else { format!("{shown:?}: {what}") }
}

/// What an error says after its semicolon is the cure.
fn cure_of(error: &impl Display) -> String {
    error.to_string().split_once("; ").map(|(_, cure)| cure.to_owned()).unwrap_or_default()
}

/// Edits between two short names (optimal string alignment without transpositions).
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = if x == y { corner } else { corner + 1 };
            corner = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
