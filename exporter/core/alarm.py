"""Since when a service's failed deployment is worth waking somebody, and when that was over."""

import msgspec

from exporter.core.account import Account, Alarm

# On purpose, so nobody is to be woken.
_STOPPED = "stopped"


def with_alarm(account: Account, now: int, settling: int) -> Account:
    """The account with its alarm raised, ended or left alone.

    Args:
        account: as the last read left it.
        now: ms since the epoch.
        settling: how many ms an end waits before it is told; a failure meanwhile is the same alarm.

    """
    alarm = _alarm(account, now, settling)
    return account if alarm == account.alarm else msgspec.structs.replace(account, alarm=alarm)


def _alarm(account: Account, now: int, settling: int) -> Alarm | None:
    alarm = account.alarm
    if not account.failing or account.row.status == _STOPPED:
        if alarm is None or alarm.ended is not None:
            return alarm
        return msgspec.structs.replace(alarm, ended=now)
    if alarm is not None and (alarm.ended is None or now < alarm.ended + settling):
        return msgspec.structs.replace(alarm, ended=None)
    # Not since the update failed: Alertmanager tells of what began long ago at once, without waiting for the
    # alert of the whole fleet that would hide this one.
    return Alarm(since=now)
