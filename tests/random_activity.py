"""Random changes of an emulated cloud, all of which an exporter must have counted in the end."""

from collections.abc import Callable
from random import Random

from exporter.emulator import Cloud
from tests.expected_series import TEXTS

_INFER_TYPES = ("real-time", "real-time", "edge", "batch")
_NODES = ("gate", "yard", "hall")
_TEXTS = tuple(TEXTS)


class RandomActivity:
    """Makes random changes, the same ones for the same seed and times.

    Args:
        cloud: only services that this object has added are changed.
        seed: of the choices.
        lateness: an entry is visible at most so many ms after its time.
        quiet: a service is deleted only if it did not change for so many ms, in which it can be read.
        most: the largest number of services at the same time.

    """

    def __init__(self, cloud: Cloud, seed: int, *, lateness: int, quiet: int, most: int) -> None:
        self._cloud, self._choose = cloud, Random(seed)
        self._lateness, self._quiet, self._most = lateness, quiet, most
        self._alive: dict[str, int] = {}  # service_id -> when (ms) its last change became visible
        self._dead: list[str] = []
        self._open: dict[str, int] = {}  # update_time by service_id
        self._acts: list[Callable[[str], None]] = [
            *[self._update] * 6,
            *[self._event] * 4,
            *[self._late_event, self._late_update, self._twins, self._burst],
            *[self._call, self._call, self._wobble, self._leave, self._come],
        ]

    def populate(self, count: int) -> None:
        """Add so many services."""
        for _ in range(count):
            self._create()

    def act(self) -> None:
        """Make one change, which a request sees either completely or not at all."""
        with self._cloud.lock:
            service_id = self._choose.choice(sorted(self._alive))
            self._choose.choice(self._acts)(service_id)

    # --- changes --------------------------------------------------------------------------------------

    def _create(self) -> str:
        infer_type = self._choose.choice(_INFER_TYPES)
        nodes = [{"id": f"node-{name}", "name": name} for name in _NODES] if infer_type == "edge" else []
        service_id = self._cloud.add_service(infer_type=infer_type, nodes=nodes)
        self._alive[service_id] = self._cloud.clock()
        return service_id

    def _come(self, service_id: str) -> None:
        """Add a service: one that was deleted before, or a new one whose first update has failed."""
        if len(self._alive) >= self._most:
            return
        if self._dead and self._choose.random() < 0.5:
            back = self._dead.pop()
            self._cloud.add_service(service_id=back)
            self._alive[back] = self._cloud.clock()
            return
        born = self._create()
        self._update(born)
        if born in self._open:
            self._settle(born, "FAIL")
            self._event(born)

    def _leave(self, service_id: str) -> None:
        if self._cloud.clock() - self._alive[service_id] < self._quiet or len(self._alive) < self._most // 2:
            return
        if service_id in self._open:
            return  # the cloud would no longer know of the open update, but an exporter would
        self._cloud.delete_service(service_id)
        del self._alive[service_id]
        self._dead.append(service_id)

    def _update(self, service_id: str) -> None:
        if service_id in self._open:
            self._settle(service_id)
        elif self._is_free(service_id, self._cloud.clock()) and not self._is_batch(service_id):
            self._open[service_id] = self._cloud.begin_update(service_id)
            self._touch(service_id)

    def _settle(self, service_id: str, result: str = "") -> None:
        update_time = self._open.pop(service_id)
        nodes = None
        if self._cloud.service(service_id).nodes:
            nodes = [
                {
                    "node_id": f"node-{name}",
                    "node_name": name,
                    "operation": "deploy",
                    "result": self._choose.random() < 0.7,
                }
                for name in _NODES
            ]
        result = result or self._choose.choice(("SUCCESS", "FAIL"))
        self._cloud.settle(service_id, update_time, result, nodes)
        self._touch(service_id)

    def _event(self, service_id: str) -> None:
        self._cloud.add_event(service_id, *self._choose.choice(_TEXTS))
        self._touch(service_id)

    def _late_event(self, service_id: str) -> None:
        at, shown = self._late()
        self._cloud.add_event(service_id, *self._choose.choice(_TEXTS), at=at, visible_at=shown)
        self._touch(service_id, shown)

    def _late_update(self, service_id: str) -> None:
        at, shown = self._late()
        if self._is_free(service_id, at) and not self._is_batch(service_id):
            result = self._choose.choice(("SUCCESS", "FAIL"))
            self._cloud.add_update(service_id, result, at=at, visible_at=shown)
            self._touch(service_id, shown)

    def _late(self) -> tuple[int, int]:
        """A time in the past and a time from which it is visible, together well within the lateness."""
        now, most = self._cloud.clock(), int(self._lateness * 0.4)
        return now - self._choose.randint(1, most), now + self._choose.randint(0, most)

    def _twins(self, service_id: str) -> None:
        """Add several updates in one millisecond."""
        now = self._cloud.clock()
        if self._is_free(service_id, now) and not self._is_batch(service_id):
            for result in ("SUCCESS", "FAIL", "SUCCESS"):
                self._cloud.add_update(service_id, result, at=now)
            self._touch(service_id)

    def _burst(self, service_id: str) -> None:
        """Add equal events in one millisecond, at most more of them than fit on the smallest page."""
        text = self._choose.choice(_TEXTS)
        for _ in range(self._choose.randint(2, 14)):
            self._cloud.add_event(service_id, *text)
        self._touch(service_id)

    def _call(self, service_id: str) -> None:
        before = self._cloud.service(service_id).fields["invocation_times"]
        self._cloud.patch_service(service_id, invocation_times=before + self._choose.randint(1, 99))

    def _wobble(self, service_id: str) -> None:
        if service_id not in self._open:
            status = self._choose.choice(("running", "concerning", "stopped", "failed", "waiting"))
            self._cloud.set_status(service_id, status)

    # --- what is possible --------------------------------------------------------------------------

    def _touch(self, service_id: str, until: int = 0) -> None:
        self._alive[service_id] = max(self._alive[service_id], self._cloud.clock(), until)

    def _is_batch(self, service_id: str) -> bool:
        return bool(self._cloud.service(service_id).fields["infer_type"] == "batch")

    def _is_free(self, service_id: str, time: int) -> bool:
        """Whether no update has this time: an open one beside a settled one would be the same update."""
        return all(update.update_time != time for update in self._cloud.service(service_id).updates)
