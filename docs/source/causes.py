"""The page on what event texts mean, written from the classifier's rules.

`python -m docs.source.causes > docs/causes.md`
"""

import sys
from collections.abc import Iterable

from exporter.core.classifier.classifier import LONGEST_EXAMINED
from exporter.core.classifier.failure_rules import FAILURES
from exporter.core.classifier.remedies import REASONS, REMEDIES
from exporter.core.classifier.step_rules import NORMAL_FAILURES, PROGRESS

_HEAD = f"""\
# What an event text means

This page is made from the rules by `python -m docs.source.causes`; edit the rules in
`exporter/core/classifier`.

Every abnormal event has a reason: that of the first of your own rules (`causes` in the config file) that is
found in its text, else of the first rule below, else `other`; events of this last kind are counted in
`modelarts_exporter_unclassified_events_total`. Only the first {LONGEST_EXAMINED} characters are
looked at, and case does not matter. Before the built-in rules are tried, full-width characters become
plain ones, white space becomes single spaces, CamelCase and hyphens become separate words
(`ErrImagePull` is `Err Image Pull`), and names of models and services are taken out; your own rules see
the text as the API wrote it.

A normal-typed event is a failure only if it says so in plain words (see below); its reason is then found in
the same way. Your own rules name the cause of a failure, but make no failure of any other normal-typed event.
A licence that *is to expire* is typed normal and nothing has failed yet, so it is not counted.

`modelarts-exporter classify TEXT` says what one text means, `modelarts-exporter classify --history FILE`
which event of a whole deployment is the cause, and why.

## Evidence and summaries

A failed deployment leaves several events, and only some of them say why it failed. So each text has a grade:
what it *proves*, whatever its reason is called.

| Grade | What the text proves | Examples |
| --- | --- | --- |
| specific | what to fix | out of memory, `No module named`, a failed image pull, quota, bill, storage |
| exit | that the container ended, and how | exit code 1, a container that could not be created |
| symptom | what was seen from outside | a health check that failed, a restart, a crash loop |
| summary | only the outcome | failed to start, abnormal instances, timed out, update failed, rolled back |
| none | only that something failed | a text that no rule knows |

Texts that your own rules match have the grade *specific*. The cause of a failed update is chosen so:

1. Events count from the update's begin until five minutes after its end, and not after the next update began.
2. The highest grade wins. Of equal grades the first wins: what comes later is often its consequence.
3. Once chosen, a cause is replaced only by one of a higher grade. So the headline may change from *failed to
   start* to *out of memory* when the second event is read later, but not from one to another of its grade.
4. A failed scheduling or image pull is no cause if the cloud repeated it with success in the same
   deployment: its grade is then *recovered*.
5. The error in the service's detail (asked for where no event tells a cause) is graded in the same way.

The page of the service, the JSON, `modelarts_service_last_failure_info` and the pushed alert all show this
one choice.

## Reasons and remedies
"""


def reference() -> str:
    """The whole page."""
    lines = [
        _HEAD,
        "| reason | remedy |",
        "| --- | --- |",
        *(f"| `{reason}` | {REMEDIES[reason]} |" for reason in REASONS),
        "",
        "## Rules, in the order they are tried",
        "",
        "A line is a regular expression, or several with `+` between them: all must be found in one clause,",
        "in any order.",
    ]
    for number, rule in enumerate(FAILURES, 1):
        lines += [
            "",
            f"### {number}. {rule.reason}",
            "",
            *([f"- Phase: `{rule.phase}`"] if rule.phase else []),
            f"- Proves: {rule.evidence.name.lower()}",
            f"- Source: {rule.source}",
            *([f"- Remedy of its own: {rule.remedy}"] if rule.remedy else []),
            "",
            *_block((*rule.patterns, *("  +  ".join(words) for words in rule.clauses))),
        ]
    lines += [
        "",
        "## Normal-typed events that tell of a failure",
        "",
        *_block(NORMAL_FAILURES),
        "",
        "## Steps of a deployment",
        "",
        "A normal-typed text that is one of these from end to end. Scheduling starts where the environment",
        "ends; startup also ends when the update settles as a success.",
    ]
    for step in PROGRESS:
        lines += ["", f"### {step.phase or 'deployment'}: {step.mark}", "", *_block(step.patterns)]
    return "\n".join(lines) + "\n"


def _block(patterns: Iterable[str]) -> list[str]:
    return ["```text", *patterns, "```"]


if __name__ == "__main__":
    sys.stdout.write(reference())
