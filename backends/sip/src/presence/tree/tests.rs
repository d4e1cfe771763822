use super::*;

const SPACE: &str = "urn:a";

fn flaw(text: &str) -> Flaw {
    read(text.as_bytes(), &[SPACE]).unwrap_err()
}

#[test]
fn a_tree_is_read_with_any_prefix_and_in_any_form_of_text() {
    let text = "\u{feff}<?xml version='1.0' encoding=\"utf-8\"?>\n<!-- a --><p:a xmlns:p='urn:a' xmlns='urn:b' p:k='v&#65;' k='w'>\
        1<b xml:lang='de'>&lt;&#x20ac;<![CDATA[<&]]></b>2\r\n<p:c/></p:a>\n";
    let root = read(text.as_bytes(), &[SPACE]).unwrap();
    assert!(root.is(SPACE, "a"));
    assert_eq!(root.text, "12\n");
    assert_eq!((root.attribute(SPACE, "k"), root.attribute("", "k")), (Some("vA"), Some("w")));
    let inner = root.first("", "b").unwrap();
    assert_eq!((inner.text.as_str(), inner.lang.as_deref()), ("<€<&", Some("de")));
    assert_eq!(root.all(SPACE, "c").count(), 1);
}

#[test]
fn document_types_entities_and_instructions_are_refused_wherever_they_stand() {
    for text in [
        "<!DOCTYPE a [<!ENTITY l 'lol'><!ENTITY m '&l;&l;'>]><a>&m;</a>",
        "<!DOCTYPE a SYSTEM 'http://127.0.0.1:1/'><a/>",
        "<!DOCTYPE a [<!ENTITY % p SYSTEM 'file:///etc/passwd'>%p;]><a/>",
        "<a><!DOCTYPE a></a>",
        "<a/><!DOCTYPE a>",
        "<a>&m;</a>",
        "<a b='&m;'/>",
        "<?a b?><a/>",
        "<a><?a b?></a>",
        "<a/><?a b?>",
    ] {
        assert!(matches!(flaw(text), Flaw::Broken(_)), "{text}");
    }
    assert_eq!(flaw("<!DOCTYPE a><a/>"), Flaw::Broken("a document type"));
    assert_eq!(flaw("<a><?b?></a>"), Flaw::Broken("a processing instruction"));
    assert_eq!(flaw("<a>&b;</a>"), Flaw::Broken("a reference to no character or to an entity"));
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for text in [
        "",
        " ",
        "a",
        "<a>",
        "<a></b>",
        "</a>",
        "<a/></a>",
        "<a/><a/>",
        "<a/>text",
        "text<a/>",
        "&#65;<a/>",
        "<a/><![CDATA[x]]>",
        "<![CDATA[ ]]><a/>",
        "<a b='1' b='2'/>",
        "<a b=1/>",
        "<a b='<'/>",
        "<a b/>",
        "<p:a/>",
        "<a p:b='1'/>",
        "<1a/>",
        "<a:b:c xmlns:a='u'/>",
        "<a>]]></a>",
        "<a>&#0;</a>",
        "<a>&#1;</a>",
        "<a>&#xffff;</a>",
        "<a b='&#1;'/>",
        "<a>\u{1}</a>",
        "<a>\u{ffff}</a>",
        "<a>&</a>",
        "<a><!-- a -- b --></a>",
        " <?xml version='1.0'?><a/>",
        "<a><?xml version='1.0'?></a>",
        "<?xml version='1.1'?><a/>",
        "<?xml version='1.0' encoding='utf-16'?><a/>",
    ] {
        assert!(matches!(flaw(text), Flaw::Broken(_)), "{text}");
    }
    assert_eq!(read(b"<a>\xff</a>", &[]).unwrap_err(), Flaw::Broken("the document is not UTF-8"));
}

#[test]
fn a_document_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(read(nested(DEPTH_MAX).as_bytes(), &[]).is_ok());
    assert!(read(nested(DEPTH_MAX + 1).as_bytes(), &[]).is_err());
    let wide = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count));
    assert!(read(wide(ELEMENTS_MAX - 1).as_bytes(), &[]).is_ok());
    assert!(read(wide(ELEMENTS_MAX).as_bytes(), &[]).is_err());
    let attributes = |count: usize| {
        let all: String = (0..count).map(|n| format!(" a{n}=''")).collect();
        format!("<a{all}/>")
    };
    assert!(read(attributes(ATTRIBUTES_MAX).as_bytes(), &[]).is_ok());
    assert!(read(attributes(ATTRIBUTES_MAX + 1).as_bytes(), &[]).is_err());
    assert!(read(format!("<a>{}</a>", " ".repeat(DOCUMENT_BYTES_MAX)).as_bytes(), &[]).is_err());
    let declarations: String = (0..ATTRIBUTES_MAX).map(|n| format!(" xmlns:a{n}='u'")).collect();
    assert!(
        read(format!("<a{declarations}><a{declarations}><a{declarations}/></a></a>").as_bytes(), &[])
            .is_err()
    );
}
