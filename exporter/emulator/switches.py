"""What nobody outside the vendor knows about the API: each unknown is a switch that tests turn both ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Switches:
    """How this cloud behaves; replace the whole value on `Cloud.switches` at any time.

    Args:
        offset_mode: `offset` counts pages or items.
        logs_order: order of the update log, which the documents do not promise.
        numbers_as_strings: every number of an answer is written as a string.
        running: a RUNNING entry settles in place, or stays and a second entry tells the result.
        start_time, end_time: whether the bound itself belongs to the window.
        max_limit: the largest `limit` taken; None takes any.
        over_limit: a larger `limit` is refused (400) or silently made smaller.
        retention: ms after which entries are no longer shown.
        arrays: how an empty array is written.
        error_prefix: spelling of the gateway's error codes.
        iam_errors: the two shapes in which IAM refuses.
        retry_after: whether a 429 carries the header.
        language: of the texts that scenarios write.
        expired_token: code in the 401 for a token that has ended.
        token_life: ms that a new token lives.
        throttle: (requests, window in seconds) per user; None does not throttle.
        batch_logs: batch services have an empty update log, or none (400).
        junk: per endpoint (`list`, `logs`, `events`), rows put behind the true ones as they are.

    """

    offset_mode: Literal["page", "item"] = "page"
    logs_order: Literal["asc", "desc"] = "desc"
    numbers_as_strings: bool = False
    running: Literal["in_place", "appended"] = "in_place"
    start_time: Literal["inclusive", "exclusive"] = "inclusive"
    end_time: Literal["inclusive", "exclusive"] = "inclusive"
    max_limit: int | None = None
    over_limit: Literal["reject", "clamp"] = "reject"
    retention: int = 30 * DAY_MS  # the documents say one month
    arrays: Literal["empty", "null", "absent"] = "empty"
    error_prefix: Literal["APIG", "APIGW"] = "APIG"
    iam_errors: Literal["openstack", "iam"] = "openstack"
    retry_after: bool = False  # no public trace shows that the gateway sends it
    language: Literal["en", "zh"] = "en"
    expired_token: Literal["0307", "ModelArts.0202"] = "0307"  # noqa: S105 - a code
    token_life: int = 24 * HOUR_MS  # what IAM gives
    throttle: tuple[int, int] | None = None
    batch_logs: Literal["empty", "error"] = "empty"
    junk: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
