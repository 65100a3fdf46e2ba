"""Compressed bodies: what is taken, what is refused, and what a reply may be."""

import gzip
import zlib

import pytest

from app.api.compression import CODINGS, accepted_coding, compress, decompress
from app.errors import BodyTooLarge, MalformedBody

TEXT = b"digits " * 1000


@pytest.mark.parametrize("coding", CODINGS)
def test_there_and_back(coding: str) -> None:
    packed = compress(TEXT, coding)
    assert len(packed) < len(TEXT) / 10
    assert decompress(packed, coding, len(TEXT)) == TEXT


def test_deflate_with_and_without_its_header() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert decompress(raw.compress(TEXT) + raw.flush(), "deflate", len(TEXT)) == TEXT
    assert decompress(zlib.compress(TEXT), "deflate", len(TEXT)) == TEXT


@pytest.mark.parametrize("coding", CODINGS)
def test_no_more_than_the_limit_is_decompressed(coding: str) -> None:
    bomb = compress(bytes(100 * 2**20), coding)
    with pytest.raises(BodyTooLarge, match="larger than 1,000 bytes when it is decompressed"):
        decompress(bomb, coding, 1000)
    with pytest.raises(BodyTooLarge):
        decompress(compress(TEXT, coding), coding, len(TEXT) - 1)


@pytest.mark.parametrize(
    ("body", "coding", "complaint"),
    [
        (b"", "gzip", "cut short"),
        (b"", "deflate", "cut short"),
        (b"hello", "gzip", "not gzip data"),
        (b"\xffhello", "deflate", "not deflate data"),
        (gzip.compress(TEXT)[:-1], "gzip", "cut short"),
        (zlib.compress(TEXT)[:-1], "deflate", "cut short"),
        (gzip.compress(TEXT) + b"more", "gzip", "something follows"),
        (gzip.compress(TEXT) + gzip.compress(TEXT), "gzip", "something follows"),
        (zlib.compress(TEXT) + b"more", "deflate", "something follows"),
        (gzip.compress(TEXT)[:-8] + bytes(8), "gzip", "not gzip data"),
    ],
)
def test_damage_is_told(body: bytes, coding: str, complaint: str) -> None:
    with pytest.raises(MalformedBody, match=complaint):
        decompress(body, coding, 10**6)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("Deflate", "deflate"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=0, *", "deflate"),
        ("*", "gzip"),
        ("identity", None),
        ("gzip;q=nonsense", None),
        (",;=", None),
    ],
)
def test_what_a_reply_may_be_compressed_with(accepted: str, coding: str | None) -> None:
    assert accepted_coding(accepted) == coding
