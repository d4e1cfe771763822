//! A configuration as lines, for telling two of them apart. Invariant: what is listed is what the file says, key by key, without
//! defaults; files it names are listed by their paths, never by what is in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

/// The lines: keys with their tables, and their values.
pub(super) type Flat = BTreeMap<String, String>;

/// One key that two configurations have differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyChange {
    /// The key with its tables; a partner is named by its domain: `partner[partner.example].tls`.
    pub key: String,
    /// What it was; absent where it was not there.
    pub before: Option<String>,
    /// What it is; absent where it is gone.
    pub after: Option<String>,
}

/// What differs.
pub(super) fn changes(before: &Flat, after: &Flat) -> Vec<KeyChange> {
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    let change = |key: &String| KeyChange {
        key: key.clone(),
        before: before.get(key).cloned(),
        after: after.get(key).cloned(),
    };
    changed.map(change).collect()
}

/// Lists a document.
pub(super) fn flatten(document: &DeTable<'_>) -> Flat {
    let mut flat = Flat::new();
    table("", document, &mut flat);
    flat
}

fn table(path: &str, content: &DeTable<'_>, flat: &mut Flat) {
    for (key, content) in content {
        let path =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        value(path, content.get_ref(), flat);
    }
}

fn value(path: String, content: &DeValue<'_>, flat: &mut Flat) {
    match content {
        DeValue::Table(inner) => table(&path, inner, flat),
        DeValue::Array(items) if items.iter().any(|item| item.get_ref().as_table().is_some()) => {
            for (n, item) in items.iter().enumerate() {
                // A table that says which domain it is about is known by it, wherever in the list it stands.
                let domain = item.get_ref().as_table().and_then(|table| table.get("domain"));
                let name = domain.and_then(|domain| domain.get_ref().as_str()).map(str::to_owned);
                value(format!("{path}[{}]", name.unwrap_or_else(|| n.to_string())), item.get_ref(), flat);
            }
        }
        other => {
            flat.insert(path, shown(other));
        }
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(_) => "{…}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str) -> Flat {
        flatten(DeTable::parse(text).unwrap().get_ref())
    }

    #[test]
    fn what_differs_is_named_by_key_and_a_partner_by_its_domain() {
        let before = flat(
            "domains = [\"contoso.com\"]\n[[partner]]\ndomain = \"a.example\"\ntls = \"required\"\n[[partner]]\ndomain = \"b.example\"\n[engine]\nshards = 2",
        );
        let after = flat(
            "domains = [\"contoso.com\", \"x.example\"]\n[[partner]]\ndomain = \"b.example\"\n[[partner]]\ndomain = \"a.example\"\ntls = \"optional\"\n[engine]\nshards = 2",
        );
        let change = |key: &str, before: Option<&str>, after: Option<&str>| KeyChange {
            key: key.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        assert_eq!(
            changes(&before, &after),
            [
                change("domains", Some("[\"contoso.com\"]"), Some("[\"contoso.com\", \"x.example\"]")),
                change("partner[a.example].tls", Some("\"required\""), Some("\"optional\"")),
            ]
        );
        assert_eq!(changes(&after, &after), []);
    }
}
