"""Since when a service's failed deployment is worth waking somebody, and when that was over."""

import msgspec

from exporter.core.accounting.service_state import AlertState, ServiceState

# On purpose, so nobody is to be woken.
_STOPPED = "stopped"


def with_alert_state(state: ServiceState, now: int, settling: int) -> ServiceState:
    """The service with its alert started, resolved or left alone.

    Args:
        state: as the last read left it.
        now: ms since the epoch.
        settling: how many ms an end waits before it is sent; a failure meanwhile is the same alert.

    """
    alert = _alert(state, now, settling)
    return state if alert == state.alert else msgspec.structs.replace(state, alert=alert)


def _alert(state: ServiceState, now: int, settling: int) -> AlertState | None:
    alert = state.alert
    if not state.failing or state.row.status == _STOPPED:
        if alert is None:
            return None
        # Whoever stops a service knows of its failure, so to start it again is no news.
        known = state.settled.update_time if state.settled is not None and state.failing else None
        resolved_at = now if alert.resolved_at is None else alert.resolved_at
        return AlertState(alert.active_at, resolved_at, known)
    if alert is not None and (alert.resolved_at is None or now < alert.resolved_at + settling):
        return AlertState(alert.active_at)
    if alert is not None and state.settled is not None and alert.stopped_with == state.settled.update_time:
        return alert
    # Not since the update failed: Alertmanager tells of what began long ago at once, without waiting for the
    # alert of the whole fleet that would hide this one.
    return AlertState(active_at=now)
