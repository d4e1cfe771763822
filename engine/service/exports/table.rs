//! Tables, as `Export-Csv` writes them: with or without a `#TYPE` line, with commas, or with semicolons or tabs as `-UseCulture` and
//! `-Delimiter` have it.

use std::io::{BufRead, BufReader, Read};

use crate::directory::csv::{RECORD_BYTES_MAX, Text};

use super::{Each, ExportError, Record, VALUES_MAX, Value, is_text_fault};

/// What may separate fields, best first.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

pub(super) fn read<R: Read>(mut source: BufReader<Text<R>>, each: &mut Each<'_>) -> Result<(), ExportError> {
    let delimiter = delimiter(source.fill_buf()?);
    let mut rows = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(source);
    let mut record = ::csv::ByteRecord::new();
    let mut next = |record: &mut ::csv::ByteRecord| {
        rows.get_mut().get_mut().allow(RECORD_BYTES_MAX);
        let line = rows.position().line();
        rows.read_byte_record(record).map_err(|error| match error.into_kind() {
            ::csv::ErrorKind::Io(error) => match is_text_fault(&error) {
                Some(fault) => ExportError::new(format!("line {line}: {fault}")),
                None => ExportError::new(format!("line {line}: cannot be read: {error}")),
            },
            other => ExportError::new(format!("line {line}: {other:?}")),
        })
    };
    let mut found = next(&mut record)?;
    if found && record.get(0).is_some_and(|field| field.starts_with(b"#TYPE")) {
        found = next(&mut record)?;
    }
    let names: Vec<String> = match found {
        true => record.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect(),
        false => return Err(ExportError::new("there is no header; is this an export?")),
    };
    if names.len() > VALUES_MAX {
        return Err(ExportError::new(format!("there are more than {VALUES_MAX} columns")));
    }
    while next(&mut record)? {
        let place = format!("line {}", record.position().map_or(0, ::csv::Position::line));
        if record.len() != names.len() {
            let what = format!("{place}: the row has {} fields, the header {}", record.len(), names.len());
            return Err(ExportError::new(format!(
                "{what}; the file was changed by hand or cut: export anew"
            )));
        }
        let mut fields = Vec::with_capacity(names.len());
        for (name, field) in names.iter().zip(&record) {
            let text = str::from_utf8(field).map_err(|_| {
                ExportError::new(format!(
                    "{place}: {name} is not UTF-8; export with -Encoding UTF8 or -Encoding Unicode"
                ))
            })?;
            fields.push((name.clone(), Value::Text(text.to_owned())));
        }
        each(Record::new(place, fields))?;
    }
    Ok(())
}

/// What separates the names in the header.
fn delimiter(start: &[u8]) -> u8 {
    let header = start.split(|&byte| byte == b'\n').find(|line| !line.starts_with(b"#TYPE"));
    let header = header.unwrap_or_default();
    let count = |delimiter: u8| header.iter().filter(|&&byte| byte == delimiter).count();
    // Of equals the earliest: `rev` because `max_by_key` takes the last.
    DELIMITERS.into_iter().rev().max_by_key(|&delimiter| count(delimiter)).unwrap_or(b',')
}
