"""One service of the emulated cloud: its fields, its two logs, and what the API shows of them."""

from dataclasses import dataclass, field

from exporter.emulator.rows import Row
from exporter.emulator.switches import Switches
from exporter.emulator.truth import Truth


@dataclass
class UpdateEntry:
    """One entry of the update log; `result` is RUNNING until it is settled. Times in ms."""

    update_time: int
    config: list[Row]
    visible_at: int
    result: str = "RUNNING"
    nodes: list[Row] | None = None  # result_detail, edge only
    settled_at: int | None = None  # retention counts from here, so an open entry stays

    def rows(self, switches: Switches) -> list[Row]:
        """Its rows in the update log: one, or two where the switches say that a result is appended."""
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
    """One event, which happened at `occur_time` and is shown from `visible_at` on (ms).

    `chinese`: its text where the cloud heeds X-Language and Chinese is asked for; "" for none.
    """

    occur_time: int
    event_type: str
    event_info: str
    visible_at: int
    chinese: str = ""

    def row(self, *, chinese: bool = False) -> Row:
        """Its row in the event log."""
        return {
            "occur_time": self.occur_time,
            "event_type": self.event_type,
            "event_info": self.chinese if chinese and self.chinese else self.event_info,
        }


@dataclass
class Service:
    """A service; `fields` is its row in the service list, `models` the deployed config."""

    fields: Row
    models: list[Row]
    nodes: list[Row] = field(default_factory=list)  # edge: id and name of each
    updates: list[UpdateEntry] = field(default_factory=list)
    events: list[EventEntry] = field(default_factory=list)
    error_msg: str = ""
    past: Truth = field(default_factory=Truth)  # of dropped entries, and from before the service was deleted

    def detail(self) -> Row:
        """The body of the service detail."""
        ready = "ready" if self.fields.get("status") == "running" else "notReady"
        config = [{**model, "status": ready} for model in self.models]
        if self.nodes:
            config = [{**model, "nodes": self.nodes} for model in config]
        body = {**self.fields, "config": config, "update_time": self.fields.get("publish_at")}
        if self.fields.get("status") == "failed":
            body["error_msg"] = self.error_msg
        return body

    def last_error(self, since: int) -> str:
        """The newest abnormal event since `since` (ms), which the detail shows as the cause of a failure."""
        texts = [e.event_info for e in self.events if e.event_type == "abnormal" and e.occur_time >= since]
        return texts[-1] if texts else "Failed to deploy the service."

    def log_rows(self, now: int, switches: Switches, update_time: int | None = None) -> list[Row]:
        """The update log at `now` (ms); with `update_time`, only the entries of that time."""
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

    def event_rows(self, now: int, switches: Switches, language: str = "") -> list[Row]:
        """The event log at `now` (ms), oldest first; `language` as in X-Language."""
        oldest = now - switches.retention
        shown = [entry for entry in self.events if entry.visible_at <= now and entry.occur_time >= oldest]
        shown.sort(key=lambda entry: entry.occur_time)
        chinese = switches.language == "asked" and language.startswith("zh")
        return [entry.row(chinese=chinese) for entry in shown]

    def truth(self, now: int) -> Truth:
        """All settled entries that were visible until `now` (ms), also from before it was deleted."""
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
        """Drop entries older than `before` (ms); only the totals of the truth still have them."""
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
