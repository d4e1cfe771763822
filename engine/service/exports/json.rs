//! JSON, as `ConvertTo-Json` writes it: an object, an array of objects, or the array wrapped as `{"value":[…],"Count":n}`, which Windows
//! PowerShell 5 does in some cases.

use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::{Each, ExportError, Record, VALUES_MAX, Value};

pub(super) fn read(source: impl Read, each: &mut Each<'_>) -> Result<(), ExportError> {
    let mut json = serde_json::Deserializer::from_reader(source);
    let mut stopped = None;
    let objects = Objects { each, count: 0, stopped: &mut stopped };
    let read = objects.deserialize(&mut json).and_then(|()| json.end());
    match (stopped, read) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => {
            Err(ExportError::new(format!("this is no whole JSON: {error}; was the file cut?")))
        }
    }
}

/// Gives objects as they are read.
struct Objects<'a, 'e> {
    each: &'a mut Each<'e>,
    count: u64,
    stopped: &'a mut Option<ExportError>,
}

impl Objects<'_, '_> {
    /// Gives one; `false` when reading is to end.
    fn give(&mut self, value: Json) -> bool {
        self.count += 1;
        let place = format!("object {}", self.count);
        let given = match value {
            Json::Object(values) if values.len() > VALUES_MAX => {
                Err(ExportError::new(format!("{place} has more than {VALUES_MAX} values")))
            }
            Json::Object(values) => {
                let fields = values.into_iter().map(|(name, json)| (name, value_of(json))).collect();
                (self.each)(Record::new(place, fields))
            }
            // `ConvertTo-Json` of nothing in a list.
            Json::Null => Ok(()),
            _ => Err(ExportError::new(format!(
                "{place} is no object with named values; export with cmdlet | ConvertTo-Json"
            ))),
        };
        match given {
            Ok(()) => true,
            Err(error) => {
                *self.stopped = Some(error);
                false
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Objects<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<Json>()? {
            if !self.give(item) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let mut object = serde_json::Map::new();
        while let Some((name, value)) = entries.next_entry::<String, Json>()? {
            object.insert(name, value);
        }
        let items = match wrapped(&mut object) {
            Some(items) => items,
            None => vec![Json::Object(object)],
        };
        for item in items {
            if !self.give(item) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// The array in `{"value":[…],"Count":n}`.
fn wrapped(object: &mut serde_json::Map<String, Json>) -> Option<Vec<Json>> {
    if object.len() != 2 || !object.contains_key("Count") {
        return None;
    }
    match object.get_mut("value") {
        Some(Json::Array(items)) => Some(std::mem::take(items)),
        _ => None,
    }
}

fn value_of(json: Json) -> Value {
    match json {
        Json::Null => Value::Nothing,
        Json::Bool(flag) => Value::Flag(flag),
        Json::Number(number) => Value::Number(number.to_string()),
        Json::String(text) => Value::Text(text),
        Json::Array(items) => list_of(items),
        Json::Object(mut object) => wrapped(&mut object).map_or(Value::Thing, list_of),
    }
}

fn list_of(items: Vec<Json>) -> Value {
    let text = |item: Json| match item {
        Json::String(text) => Some(text),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    };
    items.into_iter().map(text).collect::<Option<Vec<_>>>().map_or(Value::Thing, Value::List)
}
