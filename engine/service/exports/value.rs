//! One object of an export, and what can be asked of its values.

/// Most characters of a value that a message repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `$null`.
    Nothing,
    /// Text; every value of a CSV file is one.
    Text(String),
    /// `$true` or `$false`.
    Flag(bool),
    /// A number, in digits.
    Number(String),
    /// A collection of texts.
    List(Vec<String>),
    /// An object of which the file has parts, and no text.
    Thing,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands: `line 7`, `object 3`.
    pub place: String,
    fields: Vec<(String, Value)>,
}

impl Record {
    /// With these values; of two with one name the first counts.
    pub fn new(place: String, fields: Vec<(String, Value)>) -> Self {
        Self { place, fields }
    }

    /// The names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// Whether the export has this value at all. Names have no case, as in PowerShell.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A text, blanks around it removed; `None` where it is empty or not there.
    ///
    /// # Errors
    /// The export has lost it.
    pub fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.get(name) {
            None | Some(Value::Nothing) => Ok(None),
            Some(Value::Text(text)) if is_type_name(text) => Err(lost(name, text)),
            Some(Value::Text(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some(Value::Number(digits)) => Ok(Some(digits)),
            Some(Value::Flag(flag)) => Ok(Some(if *flag { "True" } else { "False" })),
            Some(Value::List(items)) => match items.as_slice() {
                [] => Ok(None),
                [one] => Ok(Some(one.trim()).filter(|text| !text.is_empty())),
                _ => Err(format!("{name} is a list of {}, not one value", items.len())),
            },
            Some(Value::Thing) => Err(format!(
                "{name} is an object without a text in this file; export it with \
                 Select-Object *, @{{n='{name}';e={{\"$($_.{name})\"}}}} -ExcludeProperty {name}, or with Export-Clixml"
            )),
        }
    }

    /// A word of an enumeration. `ConvertTo-Json` writes these as numbers, which say nothing without the type.
    ///
    /// # Errors
    /// The export has lost it.
    pub fn word(&self, name: &str) -> Result<Option<&str>, String> {
        match self.get(name) {
            Some(Value::Number(digits)) => Err(format!(
                "{name} is the number {digits}: ConvertTo-Json writes enumerations so, and the number is not the word; \
                 export with Export-Clixml or Export-Csv, or in PowerShell 7 with ConvertTo-Json -EnumsAsStrings"
            )),
            _ => self.text(name),
        }
    }

    /// `True` or `False`.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        if let Some(Value::Flag(flag)) = self.get(name) {
            return Ok(Some(*flag));
        }
        match self.text(name)? {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(text) => Err(format!("{name} is {}, neither True nor False", shown(text))),
        }
    }

    /// A whole number, not negative.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, String> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(number)),
                _ => Err(format!("{name} is {}, not a whole number", shown(text))),
            },
        }
    }

    /// A collection of texts. In one text they may be separated by commas, semicolons, blanks or lines, with braces around them as
    /// `Format-Table` shows them.
    ///
    /// # Errors
    /// The export has lost it.
    pub fn list(&self, name: &str) -> Result<Vec<String>, String> {
        if let Some(Value::List(items)) = self.get(name) {
            if let Some(lost_item) = items.iter().find(|item| is_type_name(item)) {
                return Err(lost(name, lost_item));
            }
            let items = items.iter().map(|item| item.trim().to_owned());
            return Ok(items.filter(|item| !item.is_empty()).collect());
        }
        let Some(text) = self.text(name)? else { return Ok(Vec::new()) };
        let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let cut = |c: char| c == ',' || c == ';' || c.is_whitespace();
        let items: Vec<String> = text.split(cut).filter(|item| !item.is_empty()).map(str::to_owned).collect();
        match items.last() {
            Some(last) if last.ends_with("...") || last.ends_with('…') => Err(format!(
                "{name} is cut short ({}): it was formatted for a screen; export the objects themselves",
                shown(text)
            )),
            _ => Ok(items),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A value as messages show it: in quotes, controls escaped, cut to a bearable length.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Whether a text is what `ToString()` says of a collection: the name of its type.
fn is_type_name(text: &str) -> bool {
    let text = text.trim();
    let typed = text.starts_with("System.") || text.starts_with("Microsoft.");
    typed && (text.contains('`') || text.ends_with(']') || text.contains("Collection"))
}

fn lost(name: &str, text: &str) -> String {
    format!(
        "{name} holds the name of a type, {}, because Export-Csv writes no collections; export with Export-Clixml, or join it: \
         Select-Object *, @{{n='{name}';e={{$_.{name} -join ' '}}}} -ExcludeProperty {name}",
        shown(text)
    )
}
