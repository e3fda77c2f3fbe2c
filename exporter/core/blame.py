"""Which event tells why the newest failed update failed."""

import msgspec

from exporter.core.account import Account, Trouble

# Where nobody saw the update settle: the longest deployment the cloud allows is two hours.
LONGEST_DEPLOYMENT_MS = 2 * 3600 * 1000
# A rollback reports up to a minute after the result, an event may be written later still.
AFTERMATH_MS = 5 * 60 * 1000

# A crash loop writes thousands; the cause stands among the latest of an update, or is kept already.
TROUBLES_KEPT = 32

# These say that it failed, others say why. The more telling wins, among equals the latest.
_SYMPTOMS = {"other": 0, "rollback": 1, "timeout": 2}
_TELLING = 3


def with_troubles(account: Account, found: tuple[Trouble, ...]) -> Account:
    """The account with new troubles noted and the cause chosen anew."""
    troubles = sorted((*account.troubles, *found), key=lambda trouble: trouble.occur_time)
    return with_cause(msgspec.structs.replace(account, troubles=tuple(troubles[-TROUBLES_KEPT:])))


def with_cause(account: Account) -> Account:
    """The account with the cause of its newest settled update; None while that did not fail."""
    return msgspec.structs.replace(account, cause=_cause(account))


def _cause(account: Account) -> Trouble | None:
    if account.settled is None or not account.failing:
        return None
    begin = account.settled.update_time
    settled_at = account.settled_at if account.settled_at is not None else begin + LONGEST_DEPLOYMENT_MS
    end = settled_at + AFTERMATH_MS
    if account.newest is not None and account.newest.update_time > begin:
        end = min(end, account.newest.update_time)
    known = (account.cause,) if account.cause is not None else ()
    candidates = [trouble for trouble in (*known, *account.troubles) if begin <= trouble.occur_time < end]
    return max(candidates, key=_telling, default=None)


def _telling(trouble: Trouble) -> tuple[int, int]:
    return (_SYMPTOMS.get(trouble.reason, _TELLING), trouble.occur_time)
