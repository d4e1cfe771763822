//! The columns of an export: which is where, and what a row holds in them.

use ::csv::ByteRecord;

use super::error::CsvError;
use crate::directory::report::quoted;

/// Most column names an error lists.
const NAMES_LISTED_MAX: usize = 40;

const SIP_ADDRESS: &str = "SipAddress";
const REGISTRAR_POOL: &str = "RegistrarPool";
const HOSTING_PROVIDER: &str = "HostingProvider";
const ENABLED_FOR_FEDERATION: &str = "EnabledForFederation";
const ENABLED: &str = "Enabled";
const EXTERNAL_ACCESS_POLICY: &str = "ExternalAccessPolicy";

/// Where each column stands; `None` for one the export does not have.
pub(super) struct Columns {
    count: usize,
    sip_address: usize,
    registrar_pool: usize,
    hosting_provider: Option<usize>,
    enabled_for_federation: Option<usize>,
    enabled: Option<usize>,
    external_access_policy: Option<usize>,
}

/// What a row holds, blanks around it removed.
pub(super) struct Cells<'a> {
    pub(super) sip_address: &'a str,
    pub(super) registrar_pool: &'a str,
    pub(super) hosting_provider: &'a str,
    pub(super) external_access_policy: &'a str,
    pub(super) enabled_for_federation: bool,
    pub(super) enabled: bool,
}

impl Columns {
    /// Finds the columns in the header.
    pub(super) fn find(header: &ByteRecord) -> Result<Self, CsvError> {
        let find = |name: &'static str| {
            let mut found = (0..)
                .zip(header)
                .filter(|(_, field)| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
            match (found.next(), found.next()) {
                (_, Some(_)) => Err(CsvError::DuplicateColumn { name }),
                (first, None) => Ok(first.map(|(index, _)| index)),
            }
        };
        let need = |name: &'static str| {
            let missing = || CsvError::MissingColumn {
                name,
                found: header
                    .iter()
                    .take(NAMES_LISTED_MAX)
                    .map(|field| quoted(&String::from_utf8_lossy(field)))
                    .collect(),
            };
            find(name)?.ok_or_else(missing)
        };
        Ok(Self {
            count: header.len(),
            sip_address: need(SIP_ADDRESS)?,
            registrar_pool: need(REGISTRAR_POOL)?,
            hosting_provider: find(HOSTING_PROVIDER)?,
            enabled_for_federation: find(ENABLED_FOR_FEDERATION)?,
            enabled: find(ENABLED)?,
            external_access_policy: find(EXTERNAL_ACCESS_POLICY)?,
        })
    }

    /// Reads a row; the error says what is wrong with it.
    pub(super) fn cells<'a>(&self, record: &'a ByteRecord) -> Result<Cells<'a>, String> {
        if record.len() != self.count {
            return Err(format!("the row has {} fields, the header {}", record.len(), self.count));
        }
        let text = |index: Option<usize>, name: &str| match index.and_then(|index| record.get(index)) {
            None => Ok(""),
            Some(field) => str::from_utf8(field)
                .map(str::trim)
                .map_err(|_| format!("{name} is not UTF-8; export with -Encoding UTF8 or -Encoding Unicode")),
        };
        let switch = |index: Option<usize>, name: &str| match (index, text(index, name)?) {
            (None, _) => Ok(true),
            (_, value) if value.eq_ignore_ascii_case("true") => Ok(true),
            (_, value) if value.eq_ignore_ascii_case("false") => Ok(false),
            (_, value) => Err(format!("{name} is {}, neither True nor False", quoted(value))),
        };
        Ok(Cells {
            sip_address: text(Some(self.sip_address), SIP_ADDRESS)?,
            registrar_pool: text(Some(self.registrar_pool), REGISTRAR_POOL)?,
            hosting_provider: text(self.hosting_provider, HOSTING_PROVIDER)?,
            external_access_policy: text(self.external_access_policy, EXTERNAL_ACCESS_POLICY)?,
            enabled_for_federation: switch(self.enabled_for_federation, ENABLED_FOR_FEDERATION)?,
            enabled: switch(self.enabled, ENABLED)?,
        })
    }
}
