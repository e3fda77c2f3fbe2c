"""How much the text of a failure proves about its cause."""

from enum import IntEnum


class Evidence(IntEnum):
    """What the text of a failure proves about its cause; the greater, the more."""

    RECOVERED = 0  # nothing: the cloud repeated the failed step with success (no text says so by itself)
    NONE = 1  # only that something failed
    SUMMARY = 2  # the outcome: it did not start, timed out, was rolled back, has abnormal instances
    SYMPTOM = 3  # what was seen from outside: a health check that failed, a restart
    EXIT = 4  # the container itself ended, and how
    SPECIFIC = 5  # what went wrong: memory, a missing module, the image, resources, quota, bill, storage
