use super::*;

/// All objects of a file, one line each: `name=value|…`.
fn objects(bytes: &[u8]) -> Result<(Format, Vec<Record>), ExportError> {
    let mut records = Vec::new();
    let format = read(bytes, &mut |record| {
        records.push(record);
        Ok(())
    })?;
    Ok((format, records))
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(unit).collect()
}

const CSV: &str = "#TYPE Microsoft.Rtc.Management.WritableConfig.Settings.XmppFederation.XmppAllowedPartner\r\n\
    \"Identity\",\"Domain\",\"AdditionalDomains\",\"EnableKeepAlive\",\"ConnectionLimit\"\r\n\
    \"bücher.example\",\"bücher.example\",\"a.example b.example\",\"True\",\"7\"\r\n";

const JSON: &str = r#"[{"Identity":"bücher.example","Domain":"bücher.example",
    "AdditionalDomains":["a.example","b.example"],"EnableKeepAlive":true,"ConnectionLimit":7}]"#;

const CLIXML: &str = r#"<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">
  <Obj RefId="0">
    <TN RefId="0"><T>Microsoft.Rtc.Xmpp.Partner</T><T>System.Object</T></TN>
    <ToString>partner</ToString>
    <Props>
      <S N="Identity">b_x00FC_cher.example</S>
      <S N="Domain">b&#xFC;cher.example</S>
      <Obj N="AdditionalDomains" RefId="1">
        <TN RefId="1"><T>System.Collections.Generic.List`1[[System.String]]</T></TN>
        <LST><S>a.example</S><S>b.example</S></LST>
      </Obj>
      <B N="EnableKeepAlive">true</B>
      <U32 N="ConnectionLimit">7</U32>
    </Props>
    <MS><S N="Note">a &lt;b&gt; _x005F_x000D_ &amp; c_x000A_</S></MS>
  </Obj>
</Objs>"#;

#[test]
fn one_object_in_every_format_and_encoding() {
    let check = |bytes: &[u8], format: Format| {
        let (found, records) = objects(bytes).unwrap();
        assert_eq!((found, records.len()), (format, 1));
        let record = &records[0];
        assert_eq!(record.text("identity").unwrap(), Some("bücher.example"));
        assert_eq!(record.text("Domain").unwrap(), Some("bücher.example"));
        assert_eq!(record.list("AdditionalDomains").unwrap(), ["a.example", "b.example"]);
        assert_eq!(record.flag("EnableKeepAlive").unwrap(), Some(true));
        assert_eq!(record.number("ConnectionLimit").unwrap(), Some(7));
        assert_eq!(record.text("nothing").unwrap(), None);
        assert!(!record.has("nothing") && record.has("DOMAIN"));
    };
    for (text, format) in [(CSV, Format::Csv), (JSON, Format::Json), (CLIXML, Format::Clixml)] {
        check(text.as_bytes(), format);
        check(format!("\u{feff}{text}").as_bytes(), format);
        check(&utf16(text, u16::to_le_bytes), format);
        check(&utf16(text, u16::to_be_bytes), format);
        check(text.replace("\r\n", "\n").as_bytes(), format);
    }
    let without_type = CSV.split_once("\r\n").unwrap().1;
    check(without_type.as_bytes(), Format::Csv);
    check(without_type.replace("\",\"", "\";\"").as_bytes(), Format::Csv);
    check(without_type.replace("\",\"", "\"\t\"").as_bytes(), Format::Csv);
    check(without_type.replace('"', "").as_bytes(), Format::Csv);
}

#[test]
fn shapes_of_json() {
    let places = |text: &str| -> Vec<String> {
        let (_, records) = objects(text.as_bytes()).unwrap();
        records
            .iter()
            .map(|record| format!("{} {}", record.place, record.text("a").unwrap().unwrap()))
            .collect()
    };
    assert_eq!(places(r#"{"a":"x"}"#), ["object 1 x"]);
    assert_eq!(places(r#"  [{"a":"x"},null,{"a":1}]  "#), ["object 1 x", "object 3 1"]);
    assert_eq!(places(r#"{"value":[{"a":"x"},{"a":true}],"Count":2}"#), ["object 1 x", "object 2 True"]);
    let (_, records) =
        objects(br#"{"l":{"value":["x","y"],"Count":2},"o":{"b":1},"e":[],"n":null}"#).unwrap();
    assert_eq!(records[0].list("l").unwrap(), ["x", "y"]);
    assert!(records[0].text("o").unwrap_err().contains("object without a text"));
    assert!(records[0].list("o").is_err());
    assert_eq!(records[0].list("e").unwrap(), [""; 0]);
    assert_eq!(records[0].text("n").unwrap(), None);
}

#[test]
fn shapes_of_clixml() {
    let (_, records) = objects(CLIXML.as_bytes()).unwrap();
    assert_eq!(records[0].text("Note").unwrap(), Some("a <b> _x000D_ & c"));
    let inside = CLIXML.split_once("powershell/2004/04\">").unwrap().1.strip_suffix("</Objs>").unwrap();
    let nested = format!(
        "<Objs><Obj RefId=\"9\"><TN RefId=\"9\"><T>System.Object[]</T></TN><LST>{inside}{inside}</LST></Obj></Objs>"
    );
    let (_, records) = objects(nested.as_bytes()).unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(records[1].place, "object 2");
    let (_, records) = objects(
        b"<Objs><Obj><Props>\
          <Obj N='T' RefId='4'><TN RefId='2'><T>X</T></TN><ToString>Required</ToString><I32>0</I32></Obj>\
          <Ref N='S' RefId='4'/><Nil N='P'/><Obj N='Q' RefId='5'><Props><S N='Z'>z</S></Props></Obj>\
          <Ref N='U' RefId='99'/></Props></Obj></Objs>",
    )
    .unwrap();
    assert_eq!(records[0].word("T").unwrap(), Some("Required"));
    assert_eq!(records[0].word("S").unwrap(), Some("Required"));
    assert_eq!(records[0].text("P").unwrap(), None);
    assert!(records[0].text("Q").is_err());
    assert!(records[0].text("U").is_err());
}

#[test]
fn what_a_format_has_lost_is_said_with_the_cure() {
    let record = |text: &str| objects(text.as_bytes()).unwrap().1.remove(0);
    for type_name in [
        "System.Collections.Generic.List`1[System.String]",
        "System.String[]",
        "Microsoft.Rtc.Management.Xds.PSListModifier`1[System.String]",
    ] {
        let error = record(&format!("\"A\",\"B\"\n\"{type_name}\",\"x\"\n")).list("A").unwrap_err();
        assert!(error.contains(type_name) && error.contains("-join ' '"), "{error}");
    }
    let error = record(r#"{"TlsNegotiation":2}"#).word("TlsNegotiation").unwrap_err();
    assert!(error.contains("number 2") && error.contains("-EnumsAsStrings"), "{error}");
    assert!(record("A,B\n\"{a.example, b.exam...}\",x\n").list("A").unwrap_err().contains("cut short"));
    assert_eq!(record("A,B\n\"{a.example, b.example}\",x\n").list("A").unwrap(), ["a.example", "b.example"]);
    assert!(record("A,B\nyes,x\n").flag("A").unwrap_err().contains("neither True nor False"));
    for wrong in ["-1", "1.5", "99999999999999999999", "+5", "x"] {
        assert!(record(&format!("A,B\n{wrong},x\n")).number("A").is_err(), "{wrong}");
    }
}

#[test]
fn damaged_files_are_refused_with_the_place() {
    let check = |bytes: &[u8], part: &str| {
        let error = objects(bytes).unwrap_err().to_string();
        assert!(error.contains(part), "{part:?} in {error:?}");
    };
    check(b"", "empty");
    check(b" \r\n\r\n", "empty");
    check(b"A,B\n1,2\n1\n", "line 3: the row has 1 fields, the header 2");
    check(b"A,B\n1,\xFF\n", "line 2: B is not UTF-8");
    check(b"A\0,\0B\0", "byte order mark");
    check(&[b"A,B\n\"".as_slice(), &[b'x'; 100_000]].concat(), "line 2: the record");
    check(br#"[{"a":1},"#, "no whole JSON");
    check(br#"[{"a":1}] x"#, "no whole JSON");
    check(br#"["a"]"#, "object 1 is no object");
    check("[".repeat(5000).as_bytes(), "no whole JSON");
    check(b"<html/>", "no CLIXML");
    check(b"<Objs><Obj><Props>", "too early");
    check(b"<Objs><Obj></Objs>", "no whole CLIXML");
    check(b"<!DOCTYPE x [<!ENTITY a 'b'>]><Objs/>", "document type");
    check(b"<Objs><Obj><Props><S N='a'>&x;</S></Props></Obj></Objs>", "entity");
    check(b"<Objs><S>text</S></Objs>", "no named values");
    let deep = format!("<Objs>{}", "<Obj><Props>".repeat(100));
    check(deep.as_bytes(), "deeper");
    let wide = format!("<Objs><Obj><Props>{}", "<Nil/>".repeat(NODES + 1));
    check(wide.as_bytes(), "larger");
}

/// More than one object may have.
const NODES: usize = 100_000;

#[test]
fn whoever_reads_may_stop() {
    for text in [
        "A\n1\n2\n3\n",
        r#"[{"A":1},{"A":2},{"A":3}]"#,
        "<Objs><Obj><Props/></Obj><Obj><Props/></Obj></Objs>",
    ] {
        let mut seen = 0;
        let error = read(text.as_bytes(), &mut |_| {
            seen += 1;
            if seen == 2 { Err(ExportError::new("enough")) } else { Ok(()) }
        });
        assert_eq!((error, seen), (Err(ExportError::new("enough")), 2), "{text}");
    }
}

#[test]
fn a_file_has_a_limit() {
    let mut bounded = Bounded { inner: &b"abcdef"[..], left: 4 };
    let mut text = String::new();
    let error = bounded.read_to_string(&mut text).unwrap_err();
    assert!(error.to_string().contains("larger than"));
    let mut text = String::new();
    Bounded { inner: &b"abcd"[..], left: 4 }.read_to_string(&mut text).unwrap();
    assert_eq!(text, "abcd");
}

proptest::proptest! {
    /// Whatever is in a file, reading it ends, with objects or with an error.
    #[test]
    fn damage_is_an_error_and_no_panic(
        which in 0..3_usize,
        cuts in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 0..6),
        end in proptest::prelude::any::<proptest::sample::Index>(),
    ) {
        let mut bytes = [CSV, JSON, CLIXML][which].as_bytes().to_vec();
        for (at, byte) in cuts {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len() + 1));
        if let Ok((_, records)) = objects(&bytes) {
            for record in records {
                for name in record.names() {
                    // Each may fail and none may panic.
                    drop((record.text(name), record.word(name), record.flag(name), record.number(name), record.list(name)));
                }
            }
        }
    }
}
