"""One service of the emulated cloud: its fields, its two logs, and how the API shows them at an instant."""

from dataclasses import dataclass, field

from exporter.emulator.rows import Row
from exporter.emulator.switches import Switches
from exporter.emulator.truth import Truth


@dataclass
class UpdateEntry:
    """One update task; `result` is RUNNING until it is settled. Times in ms."""

    update_time: int
    config: list[Row]
    visible_at: int
    result: str = "RUNNING"
    nodes: list[Row] | None = None  # result_detail, edge only
    settled_at: int | None = None  # what ages; an open entry does not

    def rows(self, switches: Switches) -> list[Row]:
        """The entry as the update log shows it: one row, or two where a result is appended."""
        if self.result == "RUNNING" or switches.running == "in_place":
            return [self._row(self.result)]
        return [self._row("RUNNING"), self._row(self.result)]

    def _row(self, result: str) -> Row:
        row: Row = {
            "update_time": self.update_time,
            "result": result,
            "config": self.config,
            "extend_config": [],
        }
        if self.nodes is not None and result != "RUNNING":
            row["success_num"] = sum(1 for node in self.nodes if node["result"])
            row["failed_num"] = sum(1 for node in self.nodes if not node["result"])
            row["result_detail"] = self.nodes
        return row


@dataclass
class EventEntry:
    """One event, dated `occur_time`, shown from `visible_at` on (ms)."""

    occur_time: int
    event_type: str
    event_info: str
    visible_at: int

    def row(self) -> Row:
        """The event as the event log shows it."""
        return {
            "occur_time": self.occur_time,
            "event_type": self.event_type,
            "event_info": self.event_info,
        }


@dataclass
class Service:
    """A service; `fields` is its row in the list, `models` the config that is deployed now."""

    fields: Row
    models: list[Row]
    nodes: list[Row] = field(default_factory=list)  # edge: id and name of each
    updates: list[UpdateEntry] = field(default_factory=list)
    events: list[EventEntry] = field(default_factory=list)
    error_msg: str = ""
    past: Truth = field(default_factory=Truth)  # of entries no longer held, and of earlier lives

    def detail(self) -> Row:
        """The body of the detail call."""
        ready = "ready" if self.fields.get("status") == "running" else "notReady"
        config = [{**model, "status": ready} for model in self.models]
        if self.nodes:
            config = [{**model, "nodes": self.nodes} for model in config]
        body = {**self.fields, "config": config, "update_time": self.fields.get("publish_at")}
        if self.fields.get("status") == "failed":
            body["error_msg"] = self.error_msg
        return body

    def cause(self, since: int) -> str:
        """The last abnormal event since then (ms): what the detail tells of a failure."""
        texts = [e.event_info for e in self.events if e.event_type == "abnormal" and e.occur_time >= since]
        return texts[-1] if texts else "Failed to deploy the service."

    def log_rows(self, now: int, switches: Switches, update_time: int | None = None) -> list[Row]:
        """The update log at `now`; with `update_time`, that one task only."""
        oldest = now - switches.retention
        shown = [
            entry
            for entry in self.updates
            if entry.visible_at <= now
            and (entry.settled_at is None or entry.settled_at >= oldest)
            and update_time in (None, entry.update_time)
        ]
        shown.sort(key=lambda entry: entry.update_time, reverse=switches.logs_order == "desc")
        return [row for entry in shown for row in entry.rows(switches)]

    def event_rows(self, now: int, switches: Switches) -> list[Row]:
        """The event log at `now`, in the order of time."""
        oldest = now - switches.retention
        shown = [entry for entry in self.events if entry.visible_at <= now and entry.occur_time >= oldest]
        shown.sort(key=lambda entry: entry.occur_time)
        return [entry.row() for entry in shown]

    def truth(self, now: int) -> Truth:
        """All settled entries that were visible at some time until `now`, this life and earlier ones."""
        seen = Truth()
        for update in self.updates:
            if update.visible_at <= now and update.result in ("SUCCESS", "FAIL"):
                seen.updates[update.update_time, update.result] += 1
                seen.results[update.result] += 1
        for event in self.events:
            if event.visible_at <= now:
                seen.events[event.occur_time, event.event_type, event.event_info] += 1
                seen.types[event.event_type] += 1
        return self.past + seen

    def forget(self, now: int, before: int) -> None:
        """Hold no entry older than `before` any more; only the totals of the truth keep them."""
        old = Service(
            self.fields,
            self.models,
            updates=[
                e
                for e in self.updates
                if e.settled_at is not None and e.settled_at < before and e.visible_at <= now
            ],
            events=[e for e in self.events if e.occur_time < before and e.visible_at <= now],
        )
        self.past = (self.past + old.truth(now)).totals_before(before)
        dropped = {id(entry) for entry in (*old.updates, *old.events)}
        self.updates = [entry for entry in self.updates if id(entry) not in dropped]
        self.events = [entry for entry in self.events if id(entry) not in dropped]
