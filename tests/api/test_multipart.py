"""What stands between the delimiters of a form comes out byte for byte."""

import base64
import quopri

import httpx
import pytest

from app.api.multipart import MAX_HEADER_BYTES, Part, parse_multipart
from app.errors import MalformedBody

FORM = "multipart/form-data; boundary=x"
FILE = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: Image/PNG; a=b\r\n\r\n'


def parse(body: bytes, content_type: str = FORM, most: int = 3) -> list[Part]:
    return parse_multipart(body, content_type, max_parts=most, too_many=OverflowError())


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"\r\n\r\n", b"\r\n-x\r\n--", b"a\r\n--", bytes(range(256)) * 3, b"Content-Type: a"]
)
def test_any_bytes(content: bytes) -> None:
    part = Part("file", "image/png", content)
    assert parse(b"--x\r\n" + FILE + content + b"\r\n--x--\r\n") == [part]
    assert parse(b"--x\r\n" + FILE + content + b"\r\n--x\r\n" + FILE + content + b"\r\n--x--") == [part, part]


def test_what_stands_around_the_parts_means_nothing() -> None:
    assert parse(b"for old readers\r\n--x  \r\n" + FILE + b"1\r\n--x--\r\nand after\r\n--x\r\n")[0].content == b"1"


def test_names_and_types() -> None:
    body = b'--x\r\ncontent-disposition:form-data;name="a\\"b"\r\n\r\n1\r\n--x\r\n\r\n2\r\n--x--'
    assert parse(body) == [Part('a"b', None, b"1"), Part("", None, b"2")]
    assert parse(b"--a b\r\n\r\n1\r\n--a b--", 'multipart/form-data; boundary="a b"') == [Part("", None, b"1")]


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\r\n   "])
def test_a_header_may_go_on_in_the_next_line(fold: bytes) -> None:
    """RFC 5322 (2.2.3) calls it folding; some libraries for mail write forms, too."""
    headers = b'Content-Disposition: form-data;%bname="file";%bfilename="a.png"\r\nContent-Type:%bimage/png\r\n\r\n'
    body = b"--x\r\n" + headers % (fold, fold, fold) + b"1\r\n--x--"
    assert parse(body) == [Part("file", "image/png", b"1")]


BYTES = bytes(range(256)) * 3


ENCODED = [
    (b"base64", base64.b64encode(BYTES)),
    (b"BASE64", base64.encodebytes(BYTES).replace(b"\n", b"\r\n")),
    (b"quoted-printable", quopri.encodestring(BYTES)),
    (b"Quoted-Printable", quopri.encodestring(BYTES, quotetabs=True)),
    (b"binary", BYTES),
    (b"8bit", BYTES),
    (b"7bit", BYTES),
    (b"identity", BYTES),
    (b"", BYTES),
]


@pytest.mark.parametrize("header", [b"Content-Transfer-Encoding", b"content-transfer-encoding", b"Content-Encoding"])
def test_a_part_s_encoding_is_undone(header: bytes) -> None:
    """RFC 7578 (4.7) has clients send none; some do all the same."""
    for encoding, content in ENCODED:
        for headers in (b"%b: %b\r\n" % (header, encoding) + FILE, FILE[:-2] + b"%b:%b\r\n\r\n" % (header, encoding)):
            body = b"--x\r\n" + headers + content + b"\r\n--x\r\n" + FILE + b"1\r\n--x--"
            expected = [Part("file", "image/png", BYTES), Part("file", "image/png", b"1")]
            assert parse(body) == expected, (encoding, headers)


def test_what_a_client_sends() -> None:
    request = httpx.Request("POST", "http://digits", files=[("file", b"1"), ("é", b"2")], data={"label": "7"})
    parts = parse(request.read(), request.headers["content-type"])
    assert {part.name: part.content for part in parts} == {"file": b"1", "é": b"2", "label": b"7"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "cut short"),
        (b"--x\r\n" + FILE + b"1", "cut short"),
        (b"--x\r\n" + FILE + b"1\r\n--x", "damaged"),
        (b"--y\r\n" + FILE + b"1\r\n--y--", "cut short"),
        (b"--xy\r\n" + FILE + b"1\r\n--xy--", "damaged"),
        (b"--x\r\nContent-Type: image/png\r\n--x--", "damaged"),
        (b"--x\r\nContent-Encoding: gzip\r\n" + FILE + b"1\r\n--x--", "encoding 'gzip'; send it without"),
        (b"--x\r\nContent-Transfer-Encoding: uuencode\r\n" + FILE + b"1\r\n--x--", "encoding 'uuencode'"),
        (b"--x\r\nContent-Transfer-Encoding: base64\r\n" + FILE + b"%%%\r\n--x--", "not in base64"),
        (b"--x\r\nContent-Transfer-Encoding: base64\r\n" + FILE + b"abc\r\n--x--", "not in base64"),
        (b"--x\r\nA: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n1\r\n--x--", "damaged"),
    ],
)
def test_what_is_no_form(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedBody, match=reason):
        parse(body)


def test_more_parts_than_may_be() -> None:
    part = b"--x\r\n" + FILE + b"1\r\n"
    assert len(parse(part * 3 + b"--x--")) == 3
    with pytest.raises(OverflowError):
        parse(part * 4 + b"--x--")
    with pytest.raises(OverflowError):
        parse(part * 9)
