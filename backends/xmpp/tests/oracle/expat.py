"""Reads documents as expat reads them: each is four octets of length, then the document; so is each answer.

An answer is a sign (+ well-formed to its end, - not), a mark (r: it has a comment, a processing instruction or a document type), and
tokens: S name (C attribute C value)*, T text, E. What stands between tokens (B) and inside them (C) cannot occur in XML 1.0.
"""

import struct
import sys
from xml.parsers import expat


def read(document):
    tokens, marks = [], set()
    # No octet of a well-formed document can be this separator, so a namespace can never run into a name.
    parser = expat.ParserCreate(None, "\x1f")
    if hasattr(parser, "SetReparseDeferralEnabled"):
        parser.SetReparseDeferralEnabled(False)
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = lambda name, attributes: tokens.append("S" + "\x03".join([name, *attributes]))
    parser.EndElementHandler = lambda name: tokens.append("E")
    parser.CharacterDataHandler = lambda text: tokens.append("T" + text)
    parser.CommentHandler = lambda text: marks.add("r")
    parser.ProcessingInstructionHandler = lambda target, text: marks.add("r")
    parser.StartDoctypeDeclHandler = lambda *declared: marks.add("r")
    try:
        parser.Parse(document, True)
        sign = "+"
    except expat.ExpatError:
        sign = "-"
    return sign + ("r" if marks else ".") + "\x02".join(tokens)


def main():
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(4):
        document = source.read(struct.unpack("<I", head)[0])
        answer = read(document).encode("utf-8")
        sink.write(struct.pack("<I", len(answer)) + answer)
    sink.flush()


main()
