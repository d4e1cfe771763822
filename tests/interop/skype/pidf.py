"""Presence documents: PIDF as a 2019 pool writes it for foreign clouds, and a strict reading of what turnout writes."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

PIDF, RPID, PERSON = "urn:ietf:params:xml:ns:pidf", "urn:ietf:params:xml:ns:pidf:rpid", "urn:ietf:params:xml:ns:pidf:data-model"
STATUS, CIPID, CLIENT = "urn:ietf:params:xml:ns:pidf:status:rpid-status", "urn:ietf:params:xml:ns:pidf:cipid", "jabber:client"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def single_tuple(user: str, state: dict[str, Any]) -> bytes:
    """One tuple, the activity inside its status in the namespace of the old draft, the display name beside it."""
    activity = f"<ep:activities><ep:activity>{escape(state['activity'])}</ep:activity></ep:activities>" if state.get("activity") else ""
    note = f'<note xml:lang="en">{escape(state["note"])}</note>' if state.get("note") else ""
    name = escape(state.get("name") or user.split("@")[0].title())
    return (f'<?xml version="1.0" encoding="utf-8"?>\r\n<presence xmlns="{PIDF}" xmlns:ep="{STATUS}" xmlns:ci="{CIPID}" '
            f'entity={quoteattr("sip:" + user)}><tuple id="0"><status><basic>{escape(state["basic"])}</basic>{activity}</status>{note}'
            f"</tuple><ci:display-name>{name}</ci:display-name></presence>").encode()


# What a 2019 pool means by its numbers; PIDF knows only a part of it.
_AVAILABILITY = {"": 3500, "busy": 6500, "do-not-disturb": 9500, "be-right-back": 12500, "away": 15500}
_MS = "http://schemas.microsoft.com/2006/09/sip/"


def categories(user: str, state: dict[str, Any]) -> bytes:
    """The enhanced form, for who asked for it: availability as a number, the note as a category of its own."""
    number = 18500 if state["basic"] == "closed" else state.get("availability") or _AVAILABILITY.get(state.get("activity", ""), 3500)
    note = (f'<category name="note" instance="0" publishTime="2019-06-01T09:00:00.0"><note xmlns="{_MS}note"><body type="personal" uri="">'
            f'{escape(state["note"])}</body></note></category>' if state.get("note") else "")
    return (f'<categories xmlns="{_MS}categories" uri={quoteattr("sip:" + user)}><category name="state" instance="1" '
            f'publishTime="2019-06-01T09:00:00.0"><state xmlns="{_MS}state" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            f'xsi:type="aggregateState"><availability>{number}</availability></state></category>{note}</categories>').encode()


def one_device(user: str, device: str, state: dict[str, Any]) -> bytes:
    """One device of a user as an endpoint of RFC 3856 publishes it: its own tuple, the activity about the person (RFC 4480)."""
    activity = (f'<dm:person id="p{device}"><rpid:activities><rpid:{state["activity"]}/></rpid:activities></dm:person>'
                if state.get("activity") else "")
    note = f"<note>{escape(state['note'])}</note>" if state.get("note") else ""
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="{PIDF}" xmlns:dm="{PERSON}" xmlns:rpid="{RPID}" '
            f'entity={quoteattr("sip:" + user)}><tuple id="ID-{device}"><status><basic>{escape(state["basic"])}</basic></status>{note}'
            f"</tuple>{activity}</presence>").encode()


def read(body: bytes) -> tuple[dict[str, Any], list[str]]:
    """What a document says, and what is wrong with it. No document says nothing: basic is empty then."""
    seen: dict[str, Any] = {"basic": "", "activity": "", "note": "", "show": "", "entity": "", "tuples": []}
    if not body:
        return seen, []
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        return seen, [f"PIDF is not well-formed: {error}"]
    bad: list[str] = []
    if root.tag != f"{{{PIDF}}}presence":
        return seen, [f"the document element is {root.tag}"]
    seen["entity"] = root.get("entity", "")
    if not seen["entity"].startswith(("sip:", "pres:")):
        bad.append(f"entity {seen['entity']!r} is neither sip: nor pres:")
    ids: set[str] = set()
    for one in root.findall(f"{{{PIDF}}}tuple"):
        ident = one.get("id", "")
        if not ident or ident in ids or not (ident[0].isalpha() or ident[0] == "_"):
            bad.append(f"tuple id {ident!r} is missing, used twice, or no xs:ID")
        ids.add(ident)
        seen["tuples"].append(_tuple(one, ident, bad))
    _person(root, seen)
    _summary(seen)
    return seen, bad


def _tuple(one: ElementTree.Element, ident: str, bad: list[str]) -> dict[str, Any]:
    status = one.find(f"{{{PIDF}}}status")
    if status is None:
        bad.append(f"tuple {ident!r} without status")
        status = ElementTree.Element("none")
    basic = status.findtext(f"{{{PIDF}}}basic", "")
    if basic not in ("open", "closed", ""):
        bad.append(f"basic {basic!r}")
    contact = one.find(f"{{{PIDF}}}contact")
    return {"id": ident, "basic": basic, "activity": _activity(status), "show": status.findtext(f"{{{CLIENT}}}show", ""),
            "note": _note(one), "priority": "" if contact is None else contact.get("priority", "")}


def _activity(within: ElementTree.Element) -> str:
    """The first activity in either layout."""
    for space in (STATUS, RPID):
        listed = within.find(f"{{{space}}}activities")
        for child in [] if listed is None else listed:
            name = child.tag.partition("}")[2]
            return (child.text or "").strip() if name == "activity" else name
    return ""


def _note(within: ElementTree.Element) -> str:
    notes = within.findall(f"{{{PIDF}}}note") + within.findall(f"{{{PERSON}}}note")
    return next((n.text or "" for n in notes if n.get(_LANG, "en") == "en"), notes[0].text or "" if notes else "")


def _person(root: ElementTree.Element, seen: dict[str, Any]) -> None:
    seen["note"] = _note(root)
    for person in root.findall(f"{{{PERSON}}}person"):
        seen["activity"] = seen["activity"] or _activity(person)
        seen["note"] = seen["note"] or _note(person)


def _summary(seen: dict[str, Any]) -> None:
    """What a reader that knows one state a user makes of it: open before closed, the first tuple of that state."""
    basics = [t["basic"] for t in seen["tuples"]]
    seen["basic"] = "open" if "open" in basics else "closed" if "closed" in basics else ""
    for one in seen["tuples"]:
        if one["basic"] == seen["basic"]:
            for key in ("activity", "note", "show"):
                seen[key] = seen[key] or one[key]
