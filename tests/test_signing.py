"""The signature against published and recomputed vectors."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from exporter.adapters.modelarts.signing import authorization, canonical_request

VECTORS = json.loads((Path(__file__).parent / "data" / "signing_vectors.json").read_text("utf-8"))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: str(case["name"]))
def test_a_signature_is_that_of_the_vector(case: dict[str, Any]) -> None:
    url = f"https://{case['host']}{case['request_target']}"
    signed = {name.lower(): value for name, value in case["headers"].items()}
    body = case["body"].encode()
    assert canonical_request(case["method"], url, signed, body) == case["canonical_request"]
    made = authorization(case["method"], url, case["headers"], body, case["ak"], case["sk"])
    assert made == case["authorization"]


@pytest.mark.parametrize("case", VECTORS["golangsdk_public"], ids=lambda case: str(case["method"]))
def test_a_signature_is_that_of_the_public_vector(case: dict[str, Any]) -> None:
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in case["query"])
    url = f"https://host{case['path']}?{query}"
    body = case["body"].encode()
    made = authorization(case["method"], url, case["signed_headers"], body, case["ak"], case["sk"])
    assert made == case["authorization"]


def test_an_encoded_segment_is_encoded_once_in_the_canonical_form() -> None:
    text = canonical_request("GET", "https://h/v1/a%20b%2Fc", {"x-sdk-date": "d"}, b"")
    assert text.splitlines()[1] == "/v1/a%20b%2Fc/"


def test_values_without_text_and_repeated_names_are_kept_and_sorted() -> None:
    text = canonical_request("GET", "https://h/?b=2&a=&b=1", {"x-sdk-date": "d"}, b"")
    assert text.splitlines()[2] == "a=&b=1&b=2"
