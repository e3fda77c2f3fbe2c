"""What an event text means: a failure and what it proves about the cause, or a step of a deployment."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import msgspec

from exporter.core.classifier.evidence import Evidence
from exporter.core.classifier.failure_rules import FAILURES
from exporter.core.classifier.remedies import REMEDIES
from exporter.core.classifier.step_rules import NORMAL_FAILURES, PROGRESS
from exporter.core.records import ABNORMAL, NORMAL

# The cause is at the head of a text; what follows is a build log or a stack of errors. Texts come from
# outside, so their length must not decide how long a search takes.
LONGEST_EXAMINED = 4096
_OUTER_PUNCTUATION = " .,;:!。"


class CustomRule(msgspec.Struct, frozen=True, gc=False):
    """A user's rule: `pattern` is a regular expression, searched without regard to case."""

    reason: str
    pattern: str
    remedy: str = ""  # "": that of the built-in reason of this name, if there is one


class Classification(msgspec.Struct, frozen=True, gc=False):
    """What one event means: a failure (it has a `reason`), a step of a deployment (a `mark`), or neither."""

    reason: str = ""
    remedy: str = ""
    evidence: Evidence = Evidence.NONE  # of a failure: what the text proves about its cause
    phase: str = ""  # of the step, or where the failure belongs
    mark: str = ""  # "begin": a deployment begins; "start", "end": of the phase
    classified: bool = True  # False: a failure that no rule knew


NO_FINDING = Classification()


def _compiled(patterns: Iterable[str]) -> re.Pattern[str]:
    # ASCII: between "OBS" and a Chinese character there is a word boundary.
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE | re.ASCII)


# A dot in a version or a colon in a path ends no clause.
_CLAUSE_END = r"(?:[,.:;!?](?![\w/])|[。、])"
# From the begin of a clause to a word: a sentence with a name of 128 characters in it.
_WITHIN_CLAUSE = rf"(?:(?!{_CLAUSE_END}).){{0,200}}?"


def _clause(words: Iterable[str]) -> str:
    """A pattern for all of the words in one clause, in any order."""
    return rf"(?:^|{_CLAUSE_END} ?)" + "".join(f"(?={_WITHIN_CLAUSE}(?:{word}))" for word in words)


# A word that stands where a name may, but says what happened.
_NO_NAME = (
    r"(?!(?:successful(?:ly)?|success|succeeded|failed|failure|completed?|done|finished|has|have|is|was|were|will"
    r"|could|can|cannot|did|and|to|for|on|in|because|due"
    r"|deployment|update|upgrade|start|startup|restart|stop|rollback|creation|image|model|container|instances?)"
    r"(?![^\s.,;:!]))"
)
_NAME = rf"{_NO_NAME}[^\s,;:]{{1,128}}"
_VERB = r"(?:failed|started|has|was|is|could|cannot|did)\b"
# Names say nothing about what happened, whatever words are in them; group 1, if any, stays.
_NAMES = tuple(
    _compiled([names])
    for names in (
        # [NAME VERSION], (NAME VERSION): the platform's way to name a model
        r"[\[(【][^\[\]()【】\s]{1,128} v?\d{1,9}(?:\.\d{1,9}){1,3}[\])】]",
        r"\b(model|模型) ?\([^()]{1,128}\)",
        r"(\bdeployment|\bservice|\bmodel|\bimage|部署|服务|模型|镜像) ?[\[【][^\[\]【】]{1,128}[\]】]",
        r"(\bdeployment|\bservice|\bmodel|\bimage|部署|服务|模型|镜像) ?[\"“][^\"“”]{1,128}[\"”]",
        rf"(\bservice) {_NAME}(?= {_VERB})",
        rf"(\b(?:start|stop|updat|deploy|delet)\w{{0,3}} service) {_NAME}(?=[.,;:!]| success| {_VERB}|$)",
        rf"(\bmodel image) {_NAME}(?=[.,;:!]| {_VERB}|$)",
    )
)
# "ErrImagePull" and "err-image-pull" are three words; "vCPU" and "GPUs" are one.
_WORD_BREAK = re.compile(
    r"(?<=[a-z]{2})(?=[A-Z])|(?<=[A-Za-z])(?=[A-Z][a-z]{2})|(?<=[^\W_])[-_](?=[^\W_])", re.ASCII
)
_NORMAL_FAILURES = _compiled(NORMAL_FAILURES)
_FAILURES = tuple(
    (
        _compiled((*rule.patterns, *map(_clause, rule.clauses))),
        Classification(
            reason=rule.reason,
            remedy=rule.remedy or REMEDIES[rule.reason],
            evidence=rule.evidence,
            phase=rule.phase,
        ),
    )
    for rule in FAILURES
)
_PROGRESS = tuple(
    (_compiled(step.patterns), Classification(phase=step.phase, mark=step.mark)) for step in PROGRESS
)
# The least that the texts of a reason prove, for failures that were stored without their grade.
LEAST_EVIDENCE = {
    rule.reason: min(other.evidence for other in FAILURES if other.reason == rule.reason) for rule in FAILURES
}
_UNCLASSIFIED = Classification(reason="other", remedy=REMEDIES["other"], classified=False)


class Classifier:
    """Classifies event texts, by the user's rules first and the built-in ones after.

    A user's rule names the cause of a failure; it does not turn a normal-typed event into a failure, because
    such texts are full of names that a loose pattern would match.

    Args:
        custom: the user's rules, in the order they are tried.

    Raises:
        re.error: a pattern is no regular expression.

    """

    def __init__(self, custom: Sequence[CustomRule] = ()) -> None:
        self._custom = tuple(
            (
                re.compile(rule.pattern, re.IGNORECASE),
                Classification(
                    reason=rule.reason,
                    remedy=rule.remedy or REMEDIES.get(rule.reason, ""),
                    evidence=Evidence.SPECIFIC,
                ),
            )
            for rule in custom
        )

    def classify(self, event_type: str, event_info: str) -> Classification:
        """What this event means; an event of an unknown type means nothing."""
        if event_type not in (NORMAL, ABNORMAL):
            return NO_FINDING
        text = _plain(event_info)
        if event_type == NORMAL:
            if step := _first(_PROGRESS, text.strip(_OUTER_PUNCTUATION), re.Pattern.fullmatch):
                return step
            if not _NORMAL_FAILURES.search(text):
                return NO_FINDING
        return (
            _first(self._custom, event_info[:LONGEST_EXAMINED], re.Pattern.search)
            or _first(_FAILURES, text, re.Pattern.search)
            or _UNCLASSIFIED
        )


def _first(
    table: Iterable[tuple[re.Pattern[str], Classification]],
    text: str,
    matches: Callable[[re.Pattern[str], str], re.Match[str] | None],
) -> Classification | None:
    return next((finding for pattern, finding in table if matches(pattern, text)), None)


def _plain(text: str) -> str:
    """The head of a text in plain spelling, word by word, without the names of models and services."""
    # Cut twice: a character may fold to eighteen.
    folded = unicodedata.normalize("NFKC", text[:LONGEST_EXAMINED])[:LONGEST_EXAMINED]
    plain = " ".join(folded.split())
    for names in _NAMES:
        plain = names.sub(r"\1" if names.groups else "", plain)
    return " ".join(_WORD_BREAK.sub(" ", plain).split())
