"""The page on recordings, with the table of the fields that one may hold.

`python -m docs.source.recordings > docs/recordings.md`
"""

import sys
from collections.abc import Iterator

from exporter.core.classifier.classifier import LONGEST_EXAMINED
from exporter.core.recording.anonymiser import HEADERS, SHORTEST_INSIDE, SHORTEST_MADE_UP
from exporter.core.recording.fields import GROUPS, TREATMENTS, Group

_HEAD = f"""\
# Recordings

This page is made by `python -m docs.source.recordings`; the table of fields is
`exporter/core/recording/fields.py`.

A recording is a file of what your cloud answered to the exporter. It lets others see what you saw, without
access to your account: attach it to an issue if a number is wrong, an event is not understood, or your
cloud behaves in a way that nobody has described yet. It can be replayed to the exporter and to tests.

## Make one

```sh
modelarts-exporter record --config.file=config.yml --output=recording.jsonl
modelarts-exporter record --config.file=config.yml --output=recording.jsonl --for=30m
modelarts-exporter record --config.file=config.yml --output=recording.jsonl \\
  --service=8da30673-908d-45a7-90a4-65f98e69fc34
```

`record` polls as `run` does, with the same intervals and the same rate limit, and keeps its state in memory
only. It serves nothing and pushes no alert. An exporter that runs meanwhile is not disturbed, but both use
the user's quota of requests. It ends after `--for` (10m), or at Ctrl-C; the file is whole at any moment,
since each answer is written as it comes. Only you can read the file (mode 0600); one that exists is
replaced.

With `--service`, which may be given several times, nothing about other services is asked or written: the
detail of these services stands in for the list. Begin before the deployment that you want to show, or after
it: the logs hold what happened before, too. Ten minutes of one service with a failed deployment are about
25 kB at the default intervals.

An answer that says the same as the one before is not written. Failures without an answer, such as a
timeout, are not in the file, and neither is anything of IAM.

On a terminal it shows on stderr how many services were read once, and how long it goes on.
At the end it says on stderr how many answers there are, and how often which field was left out or replaced.
Exit code: 0 done, also after SIGTERM; 130 ended by Ctrl-C; 1 if there was no answer at all, or none about a
service of `--service`.

## Send one

1. Look through the file: it is text, one answer on each line. Names of services, models and nodes are in
   it. If they tell more than you want others to know, replace them with an editor, everywhere by the same.
2. Say with it what you expected, what you saw, and `modelarts-exporter --version`.
3. Attach it to the issue. `gzip` makes it about ten times smaller.

## What is in it

Each line is a JSON object:

| Key | Value |
| --- | --- |
| `at_ms` | when the answer came, in ms since the epoch, by the clock of the machine that recorded |
| `method` | `GET` |
| `path` | from `/v1/` on, such as `/v1/{{project_id}}/services/{{service_id}}/logs` |
| `query` | an object of texts |
| `status` | the HTTP status |
| `headers` | an object of texts, with these if they were sent: {", ".join(f"`{name}`" for name in HEADERS)} |
| `body` | the JSON of the answer, or a text if it was no JSON |

Every other header is left out: no token, no signature, no cookie, no request id.

What is kept of a body is a list of what is known to be harmless, see below. Of any other field the key
stays, and `"<string>"`, `"<number>"`, `"<boolean>"`, `"<array>"` or `"<object>"` stands for its value,
unless it is empty. An array or an object where a single value belongs is emptied.

**Ids and names of people** are replaced by made-up ones of the same shape, the same by the same everywhere:
in paths, fields and texts, upper or lower case. They come from a random key that is forgotten when the
recording ends, so nobody can compute them back, and two recordings have different ones. An id or a name
shorter than {SHORTEST_MADE_UP} characters gets one of {SHORTEST_MADE_UP}. The default workspace, `0`,
stays.

**In texts and names** these go: the passwords, keys and tokens of your configuration; every value that is
named like a secret (`password=...`), bearer tokens, and what has the shape of a key, a token or an id; the
names of users, domains and accounts that the configuration or an answer so far has named. A name of less
than {SHORTEST_INSIDE} characters goes only as a word of its own. A name that no configuration and no field
tells is not recognised. If a service is called after a user, that part of its name is replaced, too. White
space is folded, and only the first {LONGEST_EXAMINED} characters stay: the exporter looks at no more.

**Times** stay as they are.

"""

_TAIL = """
## Replay one

```sh
modelarts-exporter emulate --replay=recording.jsonl
modelarts-exporter emulate --replay=recording.jsonl --speed=60 --listen=127.0.0.1:10156
```

Then point an exporter at it. Any user, password, access key and token will do, and any project id: one that
is not in the file is taken for the project of which most was recorded. The ids in the file are printed at
the start. A workspace other than 0 has a made-up id too: put it into `workspaces`.

```yaml
projects:
  - name: replay
    project_id: any
    endpoint: http://127.0.0.1:10156
    auth:
      password: {iam_endpoint: "http://127.0.0.1:10156/v3", domain: any, username: any, password: any}
```

```sh
modelarts-exporter once --config.file=replay.yml
```

The recording begins when the emulator starts. At each moment a request gets what the cloud had last said by
then:

- Before the first answer about something the first one is given, and at the end the last answers stay. For
  the last state at once, use a large `--speed`, such as 1000000.
- The exporter asks for parts: a page of the list, the events since a time, one update. A replay puts the
  parts together, and answers any such request from the whole. So the exporter may ask at other moments, or
  for other parts, than when it was recorded. A read that was torn is replayed whole.
- An error stands until the next answer about the same service, or about the list. A 400 stands for the very
  same query only.
- What was never recorded is 404, without a code, so that nothing is taken for deleted. If the list was
  never recorded, it is made of the details.
- How this replay reads `offset`, `start_time` and `end_time` is its own choice (pages, inclusive): what a
  client finds out about paging is said of the replay, not of the cloud.

Times stay as recorded whatever the speed. The `Date` header is that of the recorded answer, moved on by as
much time of the recording as has passed since, so that the exporter takes nothing for dated in the future;
after the end it goes on at the speed of the clock. So `modelarts_exporter_clock_skew_seconds` shows the age
of the recording, timestamps are old, and alerts on old data fire. A token is of today and valid for a day.
`Retry-After` is given as recorded. With a high speed the exporter looks less often in recorded time:
totals, results and reasons stay the same, but a duration that only its own looking can tell becomes less
exact, or unknown.

A last line that is broken, as after a crash, is left out with a warning. Anything else broken ends the
command with exit code 1 and `FILE:LINE: what is wrong`. Parts of one recording can be put together with
`cat`, in any order; the ids of another one are others.
"""


def reference() -> str:
    """The whole page."""
    lines = ["| In the table | What becomes of the field |", "| --- | --- |"]
    lines += [f"| {name} | {meaning} |" for name, meaning in TREATMENTS.items()]
    for group in GROUPS:
        lines += _table(group)
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _table(group: Group) -> Iterator[str]:
    where = " and ".join(
        f"`{prefix.removesuffix('.')}`" if prefix else "the body itself" for prefix in group.prefixes
    )
    yield from ("", f"### {group.about}", "", f"In {where}.", "", "| Field | | Why |", "| --- | --- | --- |")
    for name, field in group.fields.items():
        yield f"| `{name}` | {field.treatment} | {field.why} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
