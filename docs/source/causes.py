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
plain ones, white space becomes single spaces, and names of models and services are taken out; your own
rules see the text as the API wrote it.

A normal-typed event is a failure only if it says so in plain words (see below); its reason is then found in
the same way. Your own rules name the cause of a failure, but make no failure of any other normal-typed event.
A licence that *is to expire* is typed normal and nothing has failed yet, so it is not counted.

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
    ]
    for number, rule in enumerate(FAILURES, 1):
        lines += [
            "",
            f"### {number}. {rule.reason}",
            "",
            *([f"- Phase: `{rule.phase}`"] if rule.phase else []),
            f"- Source: {rule.source}",
            *([f"- Remedy of its own: {rule.remedy}"] if rule.remedy else []),
            "",
            *_block(rule.patterns),
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
