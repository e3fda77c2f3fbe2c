"""What the API says, as frozen values: the vocabulary that everything else speaks.

Times are integer milliseconds since the epoch, in UTC, as the API writes them. Strings that the
API calls enumerations stay strings: an unknown value must never break a poll.
"""

import msgspec

SUCCESS = "SUCCESS"
FAIL = "FAIL"
RUNNING = "RUNNING"
SETTLED_RESULTS = (SUCCESS, FAIL)
RESULTS = (SUCCESS, FAIL, RUNNING)

NORMAL = "normal"
ABNORMAL = "abnormal"
EVENT_TYPES = (NORMAL, ABNORMAL)

STATUSES = (
    "running",
    "deploying",
    "concerning",
    "failed",
    "stopped",
    "finished",
    "stopping",
    "deleting",
    "pending",
    "waiting",
)
# A deployment is under way: the service may fail at any moment.
DEPLOYING_STATUSES = ("deploying", "pending", "waiting")
# The status will change again by itself; it last changed when this work began.
TRANSITIONAL_STATUSES = (*DEPLOYING_STATUSES, "stopping", "deleting")
INFER_TYPES = ("real-time", "edge", "batch")
OPERATIONS = ("deploy", "delete")


class Model(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One entry of an update's `config`; `envs` is never kept, it may hold secrets."""

    model_id: str = ""
    model_name: str = ""
    model_version: str = ""
    specification: str = ""
    weight: float | None = None  # per cent of the traffic
    instances: int | None = None
    cpu_cores: float | None = None
    memory_mb: float | None = None
    gpus: float | None = None


class NodeResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One entry of an edge update's `result_detail`."""

    node_id: str = ""
    node_name: str = ""
    operation: str = ""
    succeeded: bool = False


class Update(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One entry of the update log; known by its time alone."""

    update_time: int
    result: str
    models: tuple[Model, ...] = ()
    nodes_succeeded: int | None = None  # success_num, edge only
    nodes_failed: int | None = None  # failed_num, edge only
    nodes: tuple[NodeResult, ...] = ()
    cluster_id: str = ""  # the dedicated pool; empty in the public one

    @property
    def settled(self) -> bool:
        """Whether the result is final; an unknown result counts as open."""
        return self.result in SETTLED_RESULTS


# There may be a million in one read. The garbage collector, which they do not need, would take 16 bytes for
# each, and look at all of them again and again.
class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, order=True):
    """One entry of the event log; it has no id, so all of it is its identity."""

    occur_time: int
    event_type: str
    event_info: str


class ServiceRow(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One service as the list, or the detail, shows it."""

    service_id: str
    service_name: str = ""
    infer_type: str = ""
    status: str = ""
    workspace_id: str = ""
    owner: str = ""
    progress: int | None = None
    publish_at: int | None = None
    transition_at: int | None = None  # when the status last changed
    operation_time: int | None = None
    invocations: int | None = None  # total since creation
    failed_invocations: int | None = None
    error_msg: str = ""  # detail only, and only of a failed service


class ServiceList(msgspec.Struct, frozen=True, gc=False):
    """All services of one project, or as many as could be read."""

    rows: tuple[ServiceRow, ...]
    complete: bool = True  # False: rows are missing, nothing may be concluded from an absence
    malformed: int = 0  # rows without a usable service_id; they are left out
    error: str = ""  # why it is not complete, where one service is the reason and not the list as a whole


class UpdateWindow(msgspec.Struct, frozen=True, gc=False):
    """The update log, or the entries of one instant of it, as one whole read showed it."""

    updates: tuple[Update, ...]
    observed_at: int  # when the read began, on the slower of our clock and the cloud's
    instant: int | None = None  # the `update_time` asked for; None: the whole log
    supported: bool = True  # False: this kind of service has no update log
    service_name: str = ""
    answered_at: int | None = None  # the cloud's clock at the last answer; None: `observed_at`


class EventWindow(msgspec.Struct, frozen=True, gc=False):
    """The events after an instant, as one whole read showed them."""

    events: tuple[Event, ...]
    observed_at: int  # when the read began, on the slower of our clock and the cloud's
    after: int | None = None  # exclusive; None: all that the API still has
    service_name: str = ""
    answered_at: int | None = None  # the cloud's clock at the last answer; None: `observed_at`
