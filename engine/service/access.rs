//! Who may use the admin listener. Invariant: the router keeps SHA-256 sums of tokens and never a token; a token is compared with
//! every line of the file in constant time, so neither content nor place of a line is told by how long it takes. A token has 256 random
//! bits, so a sum without salt gives nothing away.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::AdminConfig;

/// Tokens a file may hold.
pub const TOKENS_MAX: usize = 256;

/// Largest file of tokens, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// What every token begins with, so that it is known for one where it does not belong.
const PREFIX: &str = "turnout_";

/// What the bearer of a token may do.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Look and change.
    Operate,
}

impl Role {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of his token; where there are no tokens, that he is on this machine.
    pub name: Arc<str>,
    /// What he may do.
    pub role: Role,
}

#[derive(Debug)]
struct Line {
    name: Arc<str>,
    role: Role,
    sum: [u8; 32],
}

/// Who may do what, by the configuration in use.
#[derive(Debug, Default)]
pub struct Access {
    tokens: Option<Vec<Line>>,
    /// Names it answers to, beside addresses and `localhost`.
    pub names: Vec<String>,
    /// Whether `/metrics` is told without a token.
    pub metrics_without_token: bool,
}

impl Access {
    /// Reads what the configuration names. Blocks.
    ///
    /// # Errors
    /// The file, the line, and what is wrong there.
    pub fn load(config: &AdminConfig) -> Result<Self, String> {
        let tokens = config.tokens_file.as_deref().map(read).transpose()?;
        Ok(Self { tokens, names: config.names.clone(), metrics_without_token: config.metrics_without_token })
    }

    /// Whether a token is asked for.
    pub fn has_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Who bears this token; without tokens, everybody who is here.
    pub fn caller(&self, token: Option<&str>) -> Option<Caller> {
        let Some(lines) = &self.tokens else {
            return Some(Caller { name: "local".into(), role: Role::Operate });
        };
        let sum: [u8; 32] = Sha256::digest(token?.as_bytes()).into();
        let mut found = None;
        for line in lines {
            // Every line is looked at, found or not.
            if bool::from(line.sum.ct_eq(&sum)) {
                found = Some(line);
            }
        }
        found.map(|line| Caller { name: Arc::clone(&line.name), role: line.role })
    }
}

/// A new token, and the line of the file that stands for it.
///
/// # Errors
/// The name cannot stand in the file, or the system gives no random numbers.
pub fn make_token(name: &str, role: Role) -> Result<(String, String), String> {
    if !is_name(name) {
        return Err(format!("{name:?} cannot be a name; use up to 64 letters, digits, - _ . and @"));
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    let token = format!("{PREFIX}{}", hex(&bytes));
    let line = format!("{name} {} {}", role.as_str(), hex(&Sha256::digest(token.as_bytes())));
    Ok((token, line))
}

fn is_name(name: &str) -> bool {
    let fit = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    !name.is_empty() && name.len() <= 64 && name.chars().all(fit)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut sum = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in sum.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(sum)
}

fn read(path: &Path) -> Result<Vec<Line>, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("admin.tokens_file: cannot read {shown}: {error}");
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(format!("admin.tokens_file: {shown} is larger than 256 KiB; it is no file of tokens"));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&text).map_err(|(line, what)| format!("admin.tokens_file: {shown}:{line}: {what}"))
}

fn parse(text: &str) -> Result<Vec<Line>, (usize, String)> {
    let mut lines: Vec<Line> = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        // What stands there may be a token that was put in by mistake: it is never repeated.
        let wrong = |what: &str| {
            (number, format!("{what}; write: NAME read|operate SHA-256, as `turnout token` prints it"))
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, role, sum] = words[..] else { return Err(wrong("is not three words")) };
        if !is_name(name) {
            return Err(wrong("the first word cannot be a name"));
        }
        let role = [Role::Read, Role::Operate].into_iter().find(|known| known.as_str() == role);
        let role = role.ok_or_else(|| wrong("the second word is no role"))?;
        let sum = unhex(sum).ok_or_else(|| wrong("the third word is no SHA-256 in hexadecimal"))?;
        if lines.iter().any(|line| &*line.name == name || line.sum == sum) {
            return Err(wrong("the name or the token is in the file already"));
        }
        if lines.len() >= TOKENS_MAX {
            return Err((number, format!("more than {TOKENS_MAX} tokens")));
        }
        lines.push(Line { name: name.into(), role, sum });
    }
    if lines.is_empty() {
        return Err((1, "holds no token, so nobody could come in; `turnout token` makes one".to_owned()));
    }
    Ok(lines)
}

#[cfg(test)]
pub(crate) fn of_text(text: &str) -> Access {
    Access { tokens: Some(parse(text).unwrap()), ..Access::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_sum_alone() {
        let (token, line) = make_token("anna", Role::Operate).unwrap();
        let (other, other_line) = make_token("grafana", Role::Read).unwrap();
        assert!(token.starts_with("turnout_") && token.len() == 72 && token != other);
        assert!(!line.contains(&token[8..]), "the file does not hold the token");
        let access = of_text(&format!("# who\n\n{line}\n{other_line}\n"));
        let caller =
            |token: &str| access.caller(Some(token)).map(|caller| (caller.name.to_string(), caller.role));
        assert_eq!(caller(&token), Some(("anna".to_owned(), Role::Operate)));
        assert_eq!(caller(&other), Some(("grafana".to_owned(), Role::Read)));
        let sum = line.rsplit(' ').next().unwrap();
        for wrong in ["", "turnout_", &token[..71], &format!("{token}0"), &token.to_uppercase(), sum] {
            assert_eq!(caller(wrong), None, "{wrong}");
        }
        assert_eq!(access.caller(None), None);
        assert!(!format!("{access:?}").contains(&token[8..]));
        assert_eq!(Access::default().caller(None).unwrap().role, Role::Operate, "no tokens, nothing to show");
    }

    #[test]
    fn mistakes_of_the_file_are_found_and_never_repeat_a_secret() {
        let sum = "ab".repeat(32);
        let rows = [
            (String::new(), "holds no token"),
            ("# nothing\n".to_owned(), "holds no token"),
            (format!("anna {sum}"), "three words"),
            (format!("anna admin {sum}"), "no role"),
            (format!("an/na read {sum}"), "cannot be a name"),
            ("anna read turnout_secret".to_owned(), "no SHA-256"),
            (format!("anna read {}", "zz".repeat(32)), "no SHA-256"),
            (format!("anna read {sum}\nbert operate {sum}"), "already"),
            (format!("anna read {sum}\nanna read {}", "cd".repeat(32)), "already"),
        ];
        for (text, expected) in rows {
            let (_, what) = parse(&text).unwrap_err();
            assert!(what.contains(expected), "{text}: {what}");
            assert!(!what.contains("secret") && !what.contains(&sum), "{what}");
        }
        let line = |n: usize| format!("n{n} read {n:064x}\n");
        assert!(parse(&(0..TOKENS_MAX).map(line).collect::<String>()).is_ok());
        assert!(parse(&(0..=TOKENS_MAX).map(line).collect::<String>()).is_err());
        assert!(make_token("a b", Role::Read).is_err() && make_token("", Role::Read).is_err());
    }
}
