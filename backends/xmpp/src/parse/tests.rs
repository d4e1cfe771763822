//! Trees of checked elements, and bytes that were never checked.

use super::*;
use crate::frame::{Frame, FrameLimits, Framer};
use bytes::Bytes;
use proptest::prelude::*;

fn read(stanza: &str) -> Tree {
    Tree::read(stanza.as_bytes(), Scope::server()).unwrap()
}

#[test]
fn names_attributes_text_and_children_are_read() {
    let tree = read(
        "<iq xml:lang='de' type=\"get\" id='a&amp;b\n'>\n<query xmlns='jabber:iq:version' x:y='1' y='2' xmlns:x='urn:x'>\
         t<a/>e&lt;<![CDATA[<x>\r\n]]>\r\n</query ><x:q xmlns:x='urn:q'/><last/></iq>",
    );
    let root = tree.root();
    assert!(root.is(Namespace::Server, "iq"));
    assert_eq!(
        (root.lang(), root.attribute("type"), root.attribute("id")),
        (Some("de"), Some("get"), Some("a&b "))
    );
    assert_eq!(root.attribute("lang"), None);
    let names: Vec<_> = root.children().map(|child| (child.namespace_name(), child.local())).collect();
    assert_eq!(names, [("jabber:iq:version", "query"), ("urn:q", "q"), ("jabber:server", "last")]);
    let query = root.child(Namespace::SoftwareVersion, "query").unwrap();
    assert_eq!((query.attribute("y"), query.attribute_in("urn:x", "y")), (Some("2"), Some("1")));
    assert_eq!(query.text(), "te<<x>\n\n");
    assert_eq!(query.children().next().map(Node::local), Some("a"));
    assert_eq!(root.text(), "\n");
}

#[test]
fn scopes_nest_and_end() {
    let tree =
        read("<a xmlns=''><b xmlns='urn:b'><c/><d xmlns=''/></b><e/><p:f xmlns:p='x'><p:g/></p:f></a>");
    let root = tree.root();
    let b = root.children().next().unwrap();
    let inside: Vec<_> = b.children().map(Node::namespace_name).collect();
    assert_eq!((root.namespace(), b.namespace_name(), inside), (Namespace::None, "urn:b", vec!["urn:b", ""]));
    let spaces: Vec<_> = root.children().map(Node::namespace_name).collect();
    assert_eq!(spaces, ["urn:b", "", "x"]);
}

#[test]
fn a_streams_header_gives_the_scope() {
    let header = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:server' xmlns:q='jabber:server:dialback'>";
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(Bytes::from(format!("{header}<q:result>key</q:result>")));
    let Ok(Some(Frame::Open(header))) = framer.next() else { panic!("no header") };
    let Ok(Some(Frame::Element(element))) = framer.next() else { panic!("no element") };
    let tree = Tree::of(&element, &header).unwrap();
    assert!(tree.root().is(Namespace::Dialback, "result"));
    assert_eq!(tree.root().text(), "key");
    let declared = Scope::server().with(element.declare().unwrap()).unwrap();
    assert!(Tree::read(element.bytes(), declared).unwrap().root().is(Namespace::Dialback, "result"));
    let undeclared = Tree::read(element.bytes(), Scope::server());
    assert_eq!(undeclared.unwrap_err(), ParseError::UndeclaredPrefix("'q'".to_owned()));
}

#[test]
fn trees_are_bounded() {
    // B-05
    let with = |children: usize| {
        Tree::read(format!("<a>{}</a>", "<b/>".repeat(children)).as_bytes(), Scope::server())
    };
    assert_eq!(with(NODES_MAX - 1).unwrap().root().children().count(), NODES_MAX - 1);
    assert_eq!(with(NODES_MAX).unwrap_err(), ParseError::TooManyElements);
    // One long namespace name is kept once, however many elements are in it.
    let tree = read(&format!("<a xmlns='{}'>{}</a>", "n".repeat(1000), "<b/>".repeat(100)));
    let names: Vec<_> = tree.root().children().map(|child| child.namespace_name().as_ptr()).collect();
    assert!(names.iter().all(|name| Some(name) == names.first()));
}

#[test]
fn unchecked_bytes_are_refused() {
    for bytes in [
        "",
        "a",
        "<",
        "<a",
        "<a>",
        "<a></a><b/>",
        "<a b/>",
        "<a b=c/>",
        "<a b='c/>",
        "</a>",
        "<a><![CDATA[</a>",
        "<a/",
        "< a/>",
    ] {
        assert!(
            matches!(Tree::read(bytes.as_bytes(), Scope::server()), Err(ParseError::Unchecked(_))),
            "{bytes}"
        );
    }
    assert!(Scope::server().with(b" a='b'").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_an_answer(bytes in "[<>/a:&;#x='\" \\]\\[!CDAT\r\n-]{0,60}") {
        let tree = Tree::read(bytes.as_bytes(), Scope::server());
        prop_assert!(tree.map_or(true, |tree| tree.root().children().count() <= NODES_MAX));
    }

    #[test]
    fn whatever_the_framer_lets_through_is_read(inside in "(<[ab]( x='[a&;<]{0,3}')?/?>|</[ab]>|[a-z&;]{0,3}){0,8}") {
        let mut framer = Framer::new(FrameLimits::default());
        let header = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server'>";
        framer.feed(Bytes::from(format!("{header}<a>{inside}</a>")));
        prop_assert!(matches!(framer.next(), Ok(Some(Frame::Open(_)))));
        while let Ok(Some(Frame::Element(element))) = framer.next() {
            let tree = Tree::read(element.bytes(), Scope::server());
            prop_assert!(tree.is_ok(), "{:?}", tree);
        }
    }
}
