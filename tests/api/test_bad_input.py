"""Everything that can be wrong with a request: its status, what the reply says, and that the server goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.calls import JSON, RAW, check, raw_reply
from tests.support.images import SEVEN, base64_of, draw, encode, handwritten, pixels, png_header
from tests.support.servers import AUTHORISED, served


@pytest.fixture(autouse=True)
def _a_good_upload_afterwards(client: httpx.Client) -> Iterator[None]:
    yield
    assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_forms_without_an_image(client: httpx.Client, path: str) -> None:
    check(client.post(path, files={"image": SEVEN}), 422, "'file'", "'image'")
    check(client.post(path, data={"file2": "x"}, files={"other": b""}), 422, "'file'")
    form = {"content-type": "multipart/form-data; boundary=x"}
    check(client.post(path, content=b"--x--\r\n", headers=form), 422, "'file'")
    check(client.post(path, content=b"", headers=form), 422, "cut short")
    check(client.post(path, content=b"nonsense", headers=form), 422, "multipart")
    check(client.post(path, content=SEVEN, headers={"content-type": "multipart/form-data"}), 422, "boundary")


def test_a_form_cut_short(client: httpx.Client) -> None:
    request = client.build_request("POST", "/predict", files={"file": SEVEN})
    body, headers = request.read(), {"content-type": request.headers["content-type"]}
    for length in range(0, len(body) - 4, 23):
        check(client.post("/predict", content=body[:length], headers=headers), 422)


def test_two_files_for_one_prediction(client: httpx.Client) -> None:
    check(client.post("/predict", files=[("file", SEVEN), ("file", SEVEN)]), 422, "2 fields", "/predict/batch")


def test_an_empty_file(client: httpx.Client) -> None:
    check(client.post("/predict", files={"file": b""}), 422, "empty")
    check(client.post("/predict", content=b"", headers={"content-type": "image/png"}), 422, "empty")
    check(client.post("/predict", json={"image": ""}), 422, "empty")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["JSON"]),
        (b"{", ["JSON"]),
        (b"[]", ["object"]),
        (b"{}", ["'image' or 'pixels'"]),
        (b'{"picture": ""}', ["'image' or 'pixels'", "'picture'"]),
        (b'{"image": "", "pixels": []}', ["one field"]),
        (b'{"image": 7}', ["image", "base64"]),
        (b'{"image": "%%%"}', ["image", "base64"]),
        (b'{"image": "\xff"}', ["JSON"]),
        (b'{"pixels": 7}', ["pixels", "28 rows"]),
        (b'{"pixels": []}', ["pixels has 0 rows", "28 rows"]),
        (b'{"pixels": [' + b"[]," * 27 + b"[]]}", ["pixels[0]", "28"]),
        (b"[" * 100_000, ["JSON"]),
    ],
)
def test_json_of_the_wrong_shape(client: httpx.Client, body: bytes, words: list[str]) -> None:
    check(client.post("/predict", content=body, headers=JSON), 422, *words)


def test_pixels_out_of_range(client: httpx.Client) -> None:
    for value in ("NaN", "Infinity", "-1", "256", "1e999", '"9"', "null", "true", "[]"):
        rows = [["0"] * 28 for _ in range(28)]
        rows[3][7] = value
        body = '{"pixels": [' + ",".join(f"[{','.join(row)}]" for row in rows) + "]}"
        check(client.post("/predict", content=body.encode(), headers=JSON), 422, "pixels[3][7]", "0")


def test_pixels_from_0_to_1_are_noticed(client: httpx.Client) -> None:
    """Also where a resampling went a little over 1. Read as they are, they would be blank."""
    for largest in (1, 1.0001, 1.99):
        scaled = [[value / 255 * largest for value in row] for row in pixels()]
        check(client.post("/predict", json={"pixels": scaled}), 422, f"to {largest}", "multiply by 255")
        (entry,) = client.post("/predict/batch", json={"pixels": [scaled]}).json()["predictions"]
        assert "multiply by 255" in entry["error"]["detail"]
    binary = [[value // 255 for value in row] for row in pixels()]
    check(client.post("/predict", json={"pixels": binary}), 422, "multiply by 255")
    assert client.post("/predict", json={"pixels": [[0] * 28] * 28}).json()["reason"] == "blank"
    faint = [[value // 100 for value in row] for row in pixels()]
    assert max(map(max, faint)) == 2
    assert client.post("/predict", json={"pixels": faint}).status_code == 200


def test_what_is_not_an_image_or_a_damaged_one(client: httpx.Client) -> None:
    check(client.post("/predict", files={"file": ("x.png", b"hello", "image/png")}), 422, "not an image")
    check(client.post("/predict", files={"file": SEVEN[: len(SEVEN) // 2]}), 422, "cut short")
    corrupt = bytearray(SEVEN)
    corrupt[60] ^= 0xFF
    check(client.post("/predict", files={"file": bytes(corrupt)}), 422, "corrupt")


def test_types_that_are_not_read(client: httpx.Client) -> None:
    check(client.post("/predict", files={"file": ("x.txt", b"hello", "text/plain")}), 415, "text/plain", "PNG, JPEG")
    check(client.post("/predict", files={"file": b"%PDF-1.7"}), 415, "PDF", "PNG, JPEG")
    check(client.post("/predict", content=b"<svg/>", headers={"content-type": "image/svg+xml"}), 415, "SVG", "PNG")
    check(client.post("/predict", content=b"hello", headers={"content-type": "text/plain"}), 415, "text/plain", "file")
    check(client.post("/predict", content=b"hello"), 415, "no Content-Type", "file")
    check(client.post("/predict/batch", content=SEVEN, headers={"content-type": "image/png"}), 415, "image/png")


def test_a_body_over_the_limit_declared_or_streamed(client: httpx.Client) -> None:
    large = bytes(5 * 1024 * 1024 + 1)
    headers = {"content-type": "image/png"}
    check(client.post("/predict", content=large, headers=headers), 413, "5,242,880")
    check(client.post("/predict", content=iter([large[: 2**20]] * 6), headers=headers), 413, "5,242,880")
    check(client.post("/predict/batch", files={"file": large}), 413, "5,242,880")


def test_a_body_over_the_limit_is_refused_before_it_is_all_read(client: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 10**9:
            sent += 2**20
            yield bytes(2**20)

    try:
        reply = client.post("/predict", content=endless(), headers={"content-type": "image/png"})
    except httpx.TransportError:
        pass  # the server hung up on what was still coming
    else:
        check(reply, 413)
    assert sent < 50 * 2**20  # what fits into the sockets' buffers and a few chunks more


@pytest.mark.parametrize("size", [(5001, 5000), (60_000, 60_000)])
def test_decompression_bombs(client: httpx.Client, size: tuple[int, int]) -> None:
    check(client.post("/predict", files={"file": png_header(*size)}), 413, "pixels", "smaller")


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_strict_is_true_or_false(client: httpx.Client, path: str) -> None:
    for said in ("yes", "", "2", "truefalse", "%00", "%ff", "tru\u00e9", "x" * 1000):
        reply = client.post(f"{path}?strict={said}", files={"file": SEVEN})
        problem = check(reply, 422, "strict=true", "strict=false")
        assert problem["type"] == "urn:digits:problem:invalid-parameter", said
        assert len(problem["detail"]) < 200, said


ENCODED = [
    ({"content-encoding": "gzip"}, "Content-Encoding"),
    ({"content-encoding": "identity, br"}, "Content-Encoding"),
    ({"content-range": "bytes 0-99/200"}, "Content-Range"),
]


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/feedback", "/retrain"])
@pytest.mark.parametrize(("headers", "word"), ENCODED)
def test_a_body_that_is_compressed_or_a_part(
    client: httpx.Client, path: str, headers: dict[str, str], word: str
) -> None:
    """Its bytes would be taken for something else."""
    reply = client.post(path, content=b"{}", headers={**JSON, **AUTHORISED, **headers})
    assert check(reply, 415, word)["type"] == "urn:digits:problem:unsupported-encoding"


def test_a_body_that_is_compressed_on_its_way(client: httpx.Client) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ntransfer-encoding: gzip, chunked\r\n\r\n"
    reply = raw_reply(client, head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SEVEN), SEVEN))
    assert check(reply, 415, "Transfer-Encoding")["type"] == "urn:digits:problem:unsupported-encoding"


@pytest.mark.parametrize("said", ["identity", "Identity", ""])
def test_a_body_that_says_that_it_is_not_compressed(client: httpx.Client, said: str) -> None:
    reply = client.post("/predict", content=SEVEN, headers={"content-type": "image/png", "content-encoding": said})
    assert reply.json()["digit"] == 7


@pytest.mark.parametrize(
    ("request_bytes", "status", "word"),
    [
        (b"GET /models HTTP/1.1\r\n\r\n", 400, "0 Host headers"),
        (b"GET /models HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400, "2 Host headers"),
        (b"nonsense\r\n\r\n", 400, "HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70_000 + b"\r\n", 431, "fewer headers"),
    ],
)
def test_what_is_no_request(client: httpx.Client, request_bytes: bytes, status: int, word: str) -> None:
    reply = raw_reply(client, request_bytes)
    check(reply, status, word)
    assert reply.headers["connection"] == "close"


def test_too_many_images_in_a_batch(client: httpx.Client) -> None:
    check(client.post("/predict/batch", files=[("file", b"")] * 1001), 413, "1,000")
    check(client.post("/predict/batch", json={"images": [""] * 1001}), 413, "1,000")
    assert len(client.post("/predict/batch", files=[("file", b"")] * 1000).json()["predictions"]) == 1000


def test_too_many_other_fields_are_not_called_images(client: httpx.Client) -> None:
    form = {f"field{n}": "x" for n in range(1016)}
    check(client.post("/predict/batch", data=form, files={"file": SEVEN}), 413, "1,016 fields", "16 other fields")
    few = {f"field{n}": "x" for n in range(16)}
    assert client.post("/predict/batch", data=few, files={"file": SEVEN}).json()["predictions"][0]["digit"] == 7


def test_plain_bytes_from_0_to_1(client: httpx.Client) -> None:
    """As from arrays that were scaled for a network; read as they are, they would be blank."""
    raw = (handwritten(7, np.random.default_rng(0)) > 100).astype(np.uint8).tobytes()
    check(client.post("/predict/batch", content=raw, headers=RAW), 422, "0 to 1", "255")
    assert client.post("/predict/batch", content=bytes(784), headers=RAW).status_code == 200
    check(client.post("/predict", content=raw, headers=RAW), 422, "0 to 1", "255")
    assert client.post("/predict", content=bytes(784), headers=RAW).json()["reason"] == "blank"


@pytest.mark.parametrize("body", [b"", bytes(783), bytes(785), bytes(2 * 784), b"%PDF-1.7"])
def test_plain_bytes_that_are_not_one_image(client: httpx.Client, body: bytes) -> None:
    check(client.post("/predict", content=body, headers=RAW), 422, f"{len(body):,} bytes", "784", "image/png")


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_arrays_of_another_type_than_uint8(client: httpx.Client, path: str) -> None:
    """An array of float32 has the bytes of four images of uint8."""
    random = np.random.default_rng(0)
    for count in (1, 3):
        images = np.stack([handwritten(digit, random) for digit in range(count)])
        for kind in ("float16", "float32", "float64", "int16", "int32", "int64"):
            for array in (images, images / 255) if kind.startswith("float") else (images,):
                check(client.post(path, content=array.astype(kind).tobytes(), headers=RAW), 422, kind, "send uint8")


def test_a_picture_s_file_in_place_of_a_batch_of_pixels(client: httpx.Client) -> None:
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WebP", "BMP"):
        content = encode(draw(7, (28, 28)), kind)
        content += bytes(-len(content) % 784) if kind != "BMP" else b""  # a BMP has its length at its beginning
        reply = client.post("/predict/batch", content=content, headers=RAW)
        check(reply, 422, f"{kind} file", "form fields 'file'")


def test_another_file_in_place_of_pixels(client: httpx.Client) -> None:
    for start, kind in ((b"\x93NUMPY", "NumPy"), (b"\x1f\x8b\x08", "gzip"), (b"PK\x03\x04", "ZIP")):
        content = start + bytes(784 - len(start))
        for path in ("/predict", "/predict/batch"):
            check(client.post(path, content=content, headers=RAW), 422, f"{kind} file", "pixels alone")


def test_json_after_a_byte_order_mark(client: httpx.Client) -> None:
    """Some editors and .NET write one; RFC 8259 (8.1) lets it be ignored."""
    body = b"\xef\xbb\xbf" + json.dumps({"image": base64_of(SEVEN)}).encode()
    assert client.post("/predict", content=body, headers=JSON).json()["digit"] == 7


@pytest.mark.parametrize(
    "body", [{}, {"images": []}, {"images": base64_of(SEVEN)}, {"pixels": 3}, {"image": base64_of(SEVEN)}]
)
def test_a_batch_of_the_wrong_shape(client: httpx.Client, body: dict[str, Any]) -> None:
    word = "pixels" if "pixels" in body else "images"
    check(client.post("/predict/batch", json=body), 422, word)


def test_paths_and_methods_that_do_not_exist(client: httpx.Client) -> None:
    check(client.get("/nothing"), 404, "/docs")
    reply = client.get("/predict")
    check(reply, 405, "POST")
    assert reply.headers["allow"] == "POST"
    check(client.put("/feedback"), 405, "GET, POST")
    assert client.put("/jobs/1").headers["allow"] == "DELETE, GET"


def test_half_a_surrogate_pair_breaks_nothing(client: httpx.Client) -> None:
    """It cannot be written as UTF-8, so it must not get into a reply or the log."""
    bad = "data:\\ud800/x;base64,aGVsbG8="
    check(client.post("/predict", content=f'{{"image": "{bad}"}}'.encode(), headers=JSON), 422, "JSON")
    check(client.post("/predict", content=f'{{"{bad}": NaN}}'.encode(), headers=JSON), 422, "JSON")
    check(client.post("/predict/batch", content=f'{{"images": ["{bad}"]}}'.encode(), headers=JSON), 422, "JSON")


def test_a_data_url_without_data(client: httpx.Client) -> None:
    check(client.post("/predict", json={"image": "data:image/png;base64"}), 422, "comma")


def test_limits_come_from_the_settings(tmp_path: Path) -> None:
    with served(tmp_path, max_body=2048, max_pixels=1000, max_batch=2) as other:
        check(other.post("/predict", files={"file": bytes(3000)}), 413, "2,048")
        check(other.post("/predict", files={"file": encode(draw(1, (40, 40)))}), 413, "40 x 40", "1,000")
        check(other.post("/predict/batch", files=[("file", b"")] * 3), 413, "2 images")
        assert len(other.post("/predict/batch", files=[("file", b"")] * 2).json()["predictions"]) == 2
        assert other.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
    with served(tmp_path, max_batch=1) as single:
        check(single.post("/predict/batch", files=[("file", SEVEN)] * 2), 413, "1 images")
