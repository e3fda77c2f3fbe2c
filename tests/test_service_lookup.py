"""Which services somebody means by an id or a name."""

import pytest

from exporter.core.records import ServiceRow
from exporter.core.service_lookup import Candidate, ambiguous, called, is_service_id

ID = "127f5ad6-2f44-4e4b-9b8a-5a3f0ce1d6f0"
OCR = Candidate("prod", ServiceRow("1", service_name="ocr"))
OTHER_OCR = Candidate("edge", ServiceRow("2", service_name="ocr"))
CALLED_1 = Candidate("edge", ServiceRow("3", service_name="1"))


def test_an_id_wins_over_a_name_and_a_name_may_be_that_of_several() -> None:
    assert called([CALLED_1, OCR, OTHER_OCR], "1") == [OCR]
    assert called([CALLED_1, OCR, OTHER_OCR], "ocr") == [OCR, OTHER_OCR]
    assert called([CALLED_1, OCR, OTHER_OCR], "oc") == []


def test_whoever_may_mean_several_is_told_which() -> None:
    said = "More than one service is called ocr: 1 in project prod, 2 in project edge."
    assert ambiguous("ocr", [OTHER_OCR, OCR]) == said


@pytest.mark.parametrize(
    ("wanted", "is_id"), [(ID, True), (ID.upper(), True), (ID + "0", False), ("ocr", False), ("", False)]
)
def test_an_id_has_36_characters_with_hyphens(wanted: str, is_id: bool) -> None:
    assert is_service_id(wanted) == is_id
