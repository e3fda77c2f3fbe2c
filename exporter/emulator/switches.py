"""What the public documents leave open about the API: a switch for each, which tests set both ways."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Switches:
    """How this cloud behaves. It is frozen: to change it, set `Cloud.switches` to a new one, at any time.

    Args:
        offset_mode: whether `offset` counts pages or items. The documents say "start page"; SDKs count items.
        logs_order: the order of the update log; the documents name none.
        numbers_as_strings: write every number as a string, as a published sample of the monitor does.
        running: when an update ends, its RUNNING entry changes in place, or stays and a second one is added.
        start_time, end_time: whether the bound itself is inside the requested window.
        max_limit: the largest allowed `limit`; None: any. The documents name none.
        over_limit: whether a larger `limit` is refused (400) or replaced by `max_limit`.
        retention: ms after which entries are no longer shown.
        arrays: how an empty array is written.
        error_prefix: the gateway's error codes occur with both prefixes.
        iam_errors: the form of IAM's errors; both occur.
        retry_after: whether a 429 has a Retry-After header.
        language: of the event texts of scenarios; `asked`: what a request's X-Language names.
        events_order: the order of events where a request names none.
        denied: actions, such as `modelarts:service:get`, that nobody may do.
        version_2: whether version 2 of the service API answers too.
        expired_token: the error code of the 401 for an expired token.
        token_life: ms for which a new token is valid.
        throttle: (requests, period in seconds) for each user; None: no limit.
        batch_logs: whether the update log of a batch service is empty, or an error (400).
        junk: rows to add, as they are, behind the true ones of `list`, `logs` or `events`.

    """

    offset_mode: Literal["page", "item"] = "page"
    logs_order: Literal["asc", "desc"] = "desc"
    numbers_as_strings: bool = False
    running: Literal["in_place", "appended"] = "in_place"
    start_time: Literal["inclusive", "exclusive"] = "inclusive"
    end_time: Literal["inclusive", "exclusive"] = "inclusive"
    max_limit: int | None = None
    over_limit: Literal["reject", "clamp"] = "reject"
    retention: int = 30 * DAY_MS  # of events: "one month" (ModelArts User Guide, Viewing Service Details)
    arrays: Literal["empty", "null", "absent"] = "empty"
    error_prefix: Literal["APIG", "APIGW"] = "APIG"
    iam_errors: Literal["openstack", "iam"] = "openstack"
    retry_after: bool = False  # the documents name the header; no published response has it
    language: Literal["en", "zh", "asked"] = "en"
    events_order: Literal["asc", "desc"] = "desc"  # documented, though the published sample is ascending
    denied: Collection[str] = ()
    version_2: bool = False
    expired_token: Literal["0307", "ModelArts.0202"] = "0307"  # noqa: S105 - a code
    token_life: int = 24 * HOUR_MS  # IAM API Reference, Obtaining a User Token
    throttle: tuple[int, int] | None = None
    batch_logs: Literal["empty", "error"] = "empty"
    junk: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
