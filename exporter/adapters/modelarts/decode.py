"""The bodies of the service API, version 1, as records: tolerant of every drift in spelling. Pure.

A number may be a string, an array null or absent, an unknown field anything. What identifies an entry
must be usable, or the whole body is `NotUnderstood`: a read must be whole.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import msgspec

from exporter.core.records import Event, Model, NodeResult, ServiceRow, Update
from exporter.core.source import NotUnderstood

# The largest number of 13 digits, in the year 2286: the API's times have 13 digits.
LATEST_MS = 9_999_999_999_999
LARGEST_COUNT = 2**63 - 1  # what the store can hold
# The sample of a list in ModelArts, API Reference, "Querying Services" has a publish_at in seconds. Read as
# ms, a number of seconds is in 1973 at the latest, before there was any service.
_SECONDS_BELOW = 100_000_000_000
# An id is a UUID. A longer one than this is none, and would not fit a request line.
_LONGEST_ID = 256

Document = Mapping[str, Any]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class ResultPage(Generic[Row]):
    """The rows of one answer, and what it says of their number: in all, and in this answer."""

    rows: tuple[Row, ...]
    total: int | None = None
    count: int | None = None
    service_name: str = ""


def document(body: bytes) -> Document:
    """The JSON object in a body. Raises `NotUnderstood`."""
    try:
        found = _loaded(body)
    except (ValueError, RecursionError) as error:
        is_page = body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
        raise NotUnderstood("The answer is not JSON" + (" but HTML." if is_page else ".")) from error
    if not isinstance(found, dict):
        raise NotUnderstood("The answer is JSON, but not an object.")
    return found


def _loaded(body: bytes) -> Any:
    """A JSON value. Raises `ValueError` and `RecursionError`."""
    return json.loads(body.decode("utf-8-sig", errors="replace"), parse_constant=_no_number)


def services(body: bytes) -> ResultPage[ServiceRow | None]:
    """A page of the service list; None stands for a row without a usable `service_id`."""
    found = document(body)
    rows = _rows(found, "services", known=found.get("total_count") is not None)
    return ResultPage(tuple(service_row(row) for row in rows), *_numbers_of_rows(found))


class ListDecoder:
    """Decodes the pages of one list again and again: of a row whose bytes are the same, so is the record.

    Most rows of a list are those of the list before. To tell that of a row takes one or two microseconds,
    to decode it twenty, and whoever has the same record has nothing to compare.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, ServiceRow | None] = {}  # by the hash of a row's bytes
        self._seen: dict[bytes, ServiceRow | None] = {}

    def begin(self) -> None:
        """A list begins: rows that the one before did not have are forgotten."""
        self._known, self._seen = self._seen, {}

    def services(self, body: bytes) -> ResultPage[ServiceRow | None]:
        """As the function of this name."""
        try:
            page = _decode_page(body)
            numbers = {"total_count": _loaded(bytes(page.total_count)), "count": _loaded(bytes(page.count))}
            rows = tuple(map(self._row, page.services))
        except (ValueError, RecursionError):  # or anything else but what is usual: it is told what it is
            return services(body)
        return ResultPage(rows, *_numbers_of_rows(numbers))

    def _row(self, raw: msgspec.Raw) -> ServiceRow | None:
        key = blake2b(raw, digest_size=16).digest()
        if key in self._seen:
            row = self._seen[key]
        elif key in self._known:
            row = self._known[key]
        else:
            row = service_row(_loaded(bytes(raw)))
        self._seen[key] = row
        return row


class _RawPage(msgspec.Struct):
    services: list[msgspec.Raw]
    total_count: msgspec.Raw = msgspec.Raw(b"null")
    count: msgspec.Raw = msgspec.Raw(b"null")


_decode_page = msgspec.json.Decoder(_RawPage).decode


def service(body: bytes, service_id: str) -> ServiceRow:
    """The detail of one service."""
    found = document(body)
    _check_service(found, service_id)
    # Without its id an answer must at least look like a service.
    row = service_row({**found, "service_id": service_id} if "status" in found else found)
    if row is None:
        raise NotUnderstood("The detail of the service has neither service_id nor status.")
    return row


def updates(body: bytes, service_id: str) -> ResultPage[Update]:
    """The update log of one service."""
    found = document(body)
    rows = _rows(found, "logs", known=_check_service(found, service_id))
    return ResultPage(tuple(_update(row) for row in rows), service_name=text(found.get("service_name")))


def events(body: bytes, service_id: str, texts: dict[str, str] | None = None) -> ResultPage[Event]:
    """A page of the event log of one service; `texts` are those of the pages before, to be kept once each."""
    texts = {} if texts is None else texts
    try:
        page = _decode_events(body)
    except (ValueError, RecursionError):  # or anything else but what is usual
        return tolerant_events(body, service_id)
    _check_service({"service_id": page.service_id}, service_id)
    # A crash loop writes one text thousands of times.
    parsed = tuple(
        [
            Event(row.occur_time, _kept(texts, row.event_type.strip()), _kept(texts, row.event_info))
            for row in page.events
        ]
    )
    numbers = {"total_count": page.total_count, "count": page.count}
    return ResultPage(parsed, *_numbers_of_rows(numbers), service_name=text(page.service_name))


class _EventRow(msgspec.Struct):
    occur_time: Annotated[int, msgspec.Meta(ge=0, le=LATEST_MS)]
    event_type: str
    event_info: str


class _EventPage(msgspec.Struct):
    events: list[_EventRow]
    service_id: str = ""
    service_name: str = ""
    total_count: int | None = None
    count: int | None = None


_decode_events = msgspec.json.Decoder(_EventPage).decode


def _kept(texts: dict[str, str], value: str) -> str:
    found = texts.get(value)
    if found is None:
        found = texts[value] = text(value)
    return found


def tolerant_events(body: bytes, service_id: str) -> ResultPage[Event]:
    """The same, of a body that is not quite as documented."""
    found = document(body)
    rows = _rows(found, "events", known=_check_service(found, service_id))
    parsed = tuple(_event(row) for row in rows)
    return ResultPage(parsed, *_numbers_of_rows(found), service_name=text(found.get("service_name")))


def service_row(row: Any) -> ServiceRow | None:
    """One service of a list, or its detail; None without a usable `service_id`."""
    if not isinstance(row, dict):
        return None
    service_id = row.get("service_id")
    if isinstance(service_id, bool) or not isinstance(service_id, str | int):
        return None
    service_id = text(service_id).strip()
    if not is_usable_id(service_id):
        return None
    publish_at = time_ms(row.get("publish_at"))
    if publish_at is not None and publish_at < _SECONDS_BELOW:
        publish_at *= 1000
    return ServiceRow(
        service_id=service_id,
        service_name=text(row.get("service_name")),
        infer_type=text(row.get("infer_type")).strip(),
        status=text(row.get("status")).strip(),
        workspace_id=text(row.get("workspace_id")).strip(),
        owner=text(row.get("owner")),
        progress=count(row.get("progress")),
        publish_at=publish_at,
        transition_at=time_ms(row.get("transition_at")),
        operation_time=time_ms(row.get("operation_time")),
        invocations=count(row.get("invocation_times")),
        failed_invocations=count(row.get("failed_times")),
        error_msg=text(row.get("error_msg")),
    )


def is_usable_id(service_id: str) -> bool:
    """Whether it can be one segment of a path: `.` and `..` would lead to another one."""
    return 0 < len(service_id) <= _LONGEST_ID and service_id not in {".", ".."}


def _update(row: Any) -> Update:
    update_time = time_ms(row.get("update_time")) if isinstance(row, dict) else None
    if update_time is None:
        raise NotUnderstood("An entry of the update log has no usable update_time.")
    # The pool is named by the entry, by each model's configuration, or by both (ModelArts, API Reference,
    # "Querying Service Update Logs").
    pools = (text(of.get("cluster_id")).strip() for of in (row, *_objects(row.get("config"))))
    return Update(
        update_time=update_time,
        result=text(row.get("result")).strip(),
        models=tuple(_model(entry) for entry in _objects(row.get("config"))),
        nodes_succeeded=count(row.get("success_num")),
        nodes_failed=count(row.get("failed_num")),
        nodes=tuple(_node(entry) for entry in _objects(row.get("result_detail"))),
        cluster_id=next(filter(None, pools), ""),
    )


def _model(entry: Document) -> Model:
    custom = entry.get("custom_spec")
    custom = custom if isinstance(custom, dict) else {}
    # A key names the kind of the device (gpu_p4, gpu_v100): their number is the sum. Ascend chips
    # (ascend_a310) are no GPUs.
    gpus = [
        found
        for key, value in custom.items()
        if key.startswith("gpu_") and (found := amount(value)) is not None
    ]
    return Model(
        model_id=text(entry.get("model_id")),
        model_name=text(entry.get("model_name")),
        model_version=text(entry.get("model_version")),
        specification=text(entry.get("specification")),
        weight=amount(entry.get("weight")),
        instances=count(entry.get("instance_count")),
        cpu_cores=amount(custom.get("cpu")),
        memory_mb=amount(custom.get("memory")),
        gpus=amount(sum(gpus)) if gpus else None,
    )


def _node(entry: Document) -> NodeResult:
    return NodeResult(
        node_id=text(entry.get("node_id")),
        node_name=text(entry.get("node_name")),
        operation=text(entry.get("operation")).strip(),
        succeeded=text(entry.get("result")).strip().casefold() in {"true", "1"},
    )


def _event(row: Any) -> Event:
    occur_time = time_ms(row.get("occur_time")) if isinstance(row, dict) else None
    if occur_time is None:
        raise NotUnderstood("An entry of the event log has no usable occur_time.")
    # The text is kept whole, whatever its length: it is part of what identifies the event.
    return Event(occur_time, text(row.get("event_type")).strip(), text(row.get("event_info")))


def _rows(found: Document, key: str, *, known: bool) -> list[Any]:
    """The array under a key. Null and absent are an empty one where the answer is known to be of its kind.

    Any other 200, such as one with `{}`, must not be taken for an empty log.
    """
    rows = found.get(key)
    if isinstance(rows, list):
        return rows
    if rows is None and known:
        return []
    raise NotUnderstood(f"The answer has no array `{key}`.")


def _numbers_of_rows(found: Document) -> tuple[int | None, int | None]:
    numbers = []
    for key in ("total_count", "count"):
        value = found.get(key)
        numbers.append(count(value))
        if value is not None and numbers[-1] is None:
            raise NotUnderstood(f"The answer's `{key}` is no number.")
    return numbers[0], numbers[1]


def _check_service(found: Document, service_id: str) -> bool:
    """Whether the answer names its service; `NotUnderstood` if it names another one."""
    named = text(found.get("service_id")).strip()
    if named and named.casefold() != service_id.casefold():
        raise NotUnderstood("The answer is about another service.")
    return bool(named)


def _objects(value: Any) -> list[Document]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """A string as it is, save lone surrogates, which nothing can encode; empty for null, array, object."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        return ""
    if value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def amount(value: Any) -> float | None:
    """A finite number >= 0, however it is spelled; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and found >= 0 else None


def count(value: Any) -> int | None:
    """A whole number from 0 to what the store can hold, however it is spelled; None for anything else."""
    if isinstance(value, str):
        value = value.strip()
        if value.isascii() and value.isdigit() and len(value) <= 19:
            value = int(value)  # exactly, where a float would round
    if isinstance(value, bool) or not isinstance(value, int):
        found = amount(value)
        value = None if found is None else int(found)
    return value if value is not None and 0 <= value <= LARGEST_COUNT else None


def time_ms(value: Any) -> int | None:
    """An instant in ms, however it is spelled; None for anything else."""
    found = count(value)
    return found if found is not None and found <= LATEST_MS else None


def _no_number(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
