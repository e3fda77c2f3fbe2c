import json
import re
from pathlib import Path
from typing import Any

import pytest

from docs.source.configuration import reference
from exporter.config import (
    Auth,
    Config,
    ConfigError,
    Poll,
    Project,
    Secret,
    SecretFile,
    SecretUnreadable,
    Services,
    format_duration,
    load,
    parse_duration,
    to_public_dict,
    to_public_yaml,
)

ROOT = Path(__file__).parent.parent
SECRET = "hunter2"

GOOD = """\
projects:
  - project_id: p1
    endpoint: https://modelarts.example.com
    auth: {token_file: token}
"""


def project(lines: str) -> str:
    return GOOD + "".join(f"    {line}\n" for line in lines.splitlines())


def signing_in(auth: str) -> str:
    return GOOD.replace("{token_file: token}", auth)


def pushing(lines: str) -> str:
    return GOOD + "alertmanager:\n" + "".join(f"  {line}\n" for line in lines.splitlines())


def tens(first: str, later: str) -> str:
    """Five lines, each of ten aliases of the line before it: a hundred thousand values in a few bytes."""
    lines = [f"a: &a {first}"]
    for before, name in ("ab", "bc", "cd", "de", "ef"):
        lines.append(f"{name}: &{name} " + later % ",".join([f"*{before}"] * 10))
    return "\n".join(lines)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with secret files, good and bad, as the present one."""
    (tmp_path / "token").write_text(f" {SECRET}\n")
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "lines").write_text(f"{SECRET}\n{SECRET}")
    (tmp_path / "bytes").write_bytes(b"\xff" + SECRET.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(text: str, **environ: str) -> Config:
    Path("config.yml").write_text(text)
    return load("config.yml", environ)


def complaints(text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(text, **environ)
    return str(caught.value)


# What is wrong, the text, and every line of the error after the file's name. A message stays in one piece,
# however long, so that it can be searched for.
# ruff: noqa: E501
# fmt: off
MISTAKES: list[tuple[str, ...]] = [
    ("no text at all", "",
     "1: (document): is empty"),
    ("only a comment", "# nothing\n",
     "1: (document): is empty"),
    ("a list as document", "- projects\n",
     "1: (document): is a list; must be a mapping with the keys projects, poll, history, store, metrics, causes, links, alertmanager"),
    ("a single word as document", "projects\n",
     "1: (document): is a single value; must be a mapping with the keys projects, poll, history, store, metrics, causes, links, alertmanager"),
    ("a tab as indentation", "projects:\n\t- project_id: p1\n",
     "2: (syntax): is not YAML: while scanning for the next token, found character '\\t' that cannot start any token; indent with spaces, and put quotes around a value that begins so"),
    ("a bracket that is never closed", GOOD + "causes: [\n",
     "6: (syntax): is not YAML: while parsing a flow node, expected the node content, but found '<stream end>'"),
    ("an alias without an anchor", GOOD + "history: *hunter2\n",
     '5: (syntax): is not YAML: found undefined alias; put quotes around a value that begins with "*"'),
    ("two documents", GOOD + "---\n" + GOOD,
     "5: (syntax): is not YAML: expected a single document in the stream that begins on line 1, but found another document"),
    ("a control character", GOOD + "history: \u0007\n",
     "5: (syntax): the character U+0007 is not allowed in YAML"),
    ("a tag that makes an object", GOOD + "history: !!python/object/apply:os.system [hunter2]\n",
     '5: history: has a YAML tag, which is not allowed; put quotes around a value that begins with "!"'),
    ("a secret that looks like a tag", signing_in("{aksk: {access_key: a, secret_key: !hunter2 }}"),
     '4: projects[0].auth.aksk.secret_key: has a YAML tag, which is not allowed; put quotes around a value that begins with "!"'),
    ("a key that is a template", GOOD + "{{ history }}: count\n",
     '5: (document): has a key that is not plain text; put quotes around a value that begins with "{"'),
    ("an alias to itself", GOOD + "causes: &a [*a]\n",
     "5: causes[0]: contains itself through an alias"),
    ("a merge of what is no mapping", GOOD + "poll:\n  <<: [30s]\n",
     "6: poll: has a merge key << that is not an alias of another mapping"),
    ("an escape out of range", GOOD + 'history: "\\UFFFFFFFF"\n',
     "1: (syntax): is not YAML: an escape such as \\U has too large a number"),
    ("half a surrogate pair", GOOD + 'history: "\\uD800"\n',
     "5: history: holds half a surrogate pair, which is not text"),
    ("too many values", tens("[x,x,x,x,x,x,x,x,x,x]", "[%s]"),
     "1: (document): has more than 50000 values, counting each alias in full"),
    ("a bomb of merge keys", tens("{k: v}", "{<<: [%s]}"),
     "1: (document): has more than 50000 values, counting each alias in full"),
    ("deep nesting", "[" * 5000,
     "1: (syntax): is nested too deeply"),
    ("a key given twice", GOOD + "poll: {interval: 30s}\nhistory: count\npoll: {interval: 40s}\n",
     "7: poll: is given twice, first on line 5; a key may stand only once"),
    ("an unknown key at the top", GOOD + "pol:\n  interval: 30s\n",
     "5: pol: is not a known key; did you mean poll? allowed here: projects, poll, history, store, metrics, causes, links, alertmanager"),
    ("an unknown key without a value", GOOD + "poll:\n  intervall:\n",
     "6: poll.intervall: is not a known key; did you mean interval? allowed here: interval, active_interval, sweep_interval, lateness"),
    ("an unknown key like no other", GOOD + "poll: {zzz: 1}\n",
     "5: poll.zzz: is not a known key; allowed here: interval, active_interval, sweep_interval, lateness"),
    ("deleted services that are kept for no time", GOOD + "store: {keep_deleted: 0s}\n",
     '5: store.keep_deleted: "0s" is not a duration above 0 such as 500ms, 30s or 1h30m'),
    ("a key of the store that is not known", GOOD + "store: {keep: 1d}\n",
     "5: store.keep: is not a known key; allowed here: keep_deleted"),
    ("a variable that is not set", GOOD + "history: ${HISTORY}\n",
     "5: history: ${HISTORY} is not set in the environment; set it, or write $${HISTORY} for the text itself"),
    ("a variable without its end", GOOD + "history: ${HISTORY\n",
     "5: history: has ${ without a variable's name and } after it; a literal ${ is written $${"),
    ("a variable with a default value", GOOD + "history: ${HISTORY:-count}\n",
     "5: history: has ${ without a variable's name and } after it; a literal ${ is written $${"),
    ("no projects", "history: count\n",
     "1: projects: is missing; must be a list of at least one item"),
    ("an empty list of projects", "projects: []\n",
     "1: projects: is an empty list; at least one item is required"),
    ("a project without anything", "projects: [{}]\n",
     "1: projects[0].auth: is missing; must be a mapping with the keys password, aksk, token_file",
     "1: projects[0].endpoint: is missing; must be a URL such as https://host or https://host/path, without user:password@",
     "1: projects[0].project_id: is missing; must be an id of up to 128 letters, digits, - and _"),
    ("a list item without a value", "projects:\n  -\n",
     "2: projects[0]: has no value; must be a mapping with the keys project_id, name, endpoint, auth, workspaces, discovery, services, rate_limit, concurrency, timeout, tls, proxy_url, proxy_basic_auth"),
    ("projects as a mapping", "projects: {name: prod}\n",
     '1: projects: must be a list: [a, b], or one "- item" a line'),
    ("the name of a project as its id", project("").replace("p1", "eu-de (prod)"),
     '2: projects[0].project_id: "eu-de (prod)" is not an id of up to 128 letters, digits, - and _'),
    ("two projects of one name", GOOD + "  - project_id: p2\n    name: p1\n    endpoint: https://modelarts.example.com\n    auth: {token_file: token}\n",
     '6: projects[1].name: "p1" is already the name of projects[0]; give each project a name of its own (it defaults to the project_id)'),
    ("the same project twice", GOOD + GOOD.split("\n", 1)[1],
     '5: projects[1].project_id: "p1" is already the name of projects[0]; give each project a name of its own (it defaults to the project_id)'),
    ("a URL without a scheme", GOOD.replace("https://", ""),
     '3: projects[0].endpoint: "modelarts.example.com" is not a URL such as https://host or https://host/path, without user:password@'),
    ("a URL without a host", GOOD.replace("modelarts.example.com", "/v1"),
     '3: projects[0].endpoint: "https:///v1" has no host; must be a URL such as https://host or https://host/path, without user:password@'),
    ("a URL of another scheme", GOOD.replace("https", "ftp"),
     '3: projects[0].endpoint: "ftp://modelarts.example.com" is not a URL such as https://host or https://host/path, without user:password@'),
    ("a URL with a password", GOOD.replace("https://", "https://exporter:hunter2@"),
     "3: projects[0].endpoint: <secret> has user information before the host; must be a URL such as https://host or https://host/path, without user:password@"),
    ("a URL with a query", GOOD.replace("example.com", "example.com/?token=hunter2"),
     "3: projects[0].endpoint: <secret> has a query or a fragment; must be a URL such as https://host or https://host/path, without user:password@"),
    ("a URL with a wrong port", GOOD.replace("example.com", "example.com:https"),
     '3: projects[0].endpoint: "https://modelarts.example.com:https" is not a URL such as https://host or https://host/path, without user:password@'),
    ("a URL with a space", GOOD.replace("https://modelarts.example.com", "https://modelarts example.com"),
     '3: projects[0].endpoint: "https://modelarts example.com" is not a URL such as https://host or https://host/path, without user:password@'),
    ("no way to sign in", signing_in("{}"),
     "4: projects[0].auth: has none of password, aksk and token_file; exactly one of them is required"),
    ("two ways to sign in", signing_in("{token_file: token, aksk: {access_key: a, secret_key: hunter2}}"),
     "4: projects[0].auth: has aksk and token_file together; only one of password, aksk and token_file is allowed"),
    ("a password where a mapping belongs", signing_in("{password: hunter2}"),
     "4: projects[0].auth.password: is a single value; must be a mapping with the keys iam_endpoint, domain, username, password, password_file"),
    ("a password and a password file", signing_in("{password: {iam_endpoint: https://iam/v3, domain: d, username: u, password: hunter2, password_file: token}}"),
     "4: projects[0].auth.password: has password and password_file together; only one of password and password_file is allowed"),
    ("neither password nor file", signing_in("{password: {iam_endpoint: https://iam/v3, domain: d, username: u}}"),
     "4: projects[0].auth.password: has none of password and password_file; exactly one of them is required"),
    ("a password sign-in without anything", signing_in("{password: {password: hunter2}}"),
     "4: projects[0].auth.password.domain: is missing; must be text in one line",
     "4: projects[0].auth.password.iam_endpoint: is missing; must be a URL such as https://host or https://host/path, without user:password@",
     "4: projects[0].auth.password.username: is missing; must be text in one line"),
    ("an empty password", signing_in('{password: {iam_endpoint: https://iam/v3, domain: d, username: u, password: ""}}'),
     "4: projects[0].auth.password.password: <secret> is empty; must be text in one line"),
    ("a password of two lines", signing_in('{password: {iam_endpoint: https://iam/v3, domain: d, username: u, password: "hunter2\\n"}}'),
     "4: projects[0].auth.password.password: <secret> holds line breaks or control characters; must be text in one line"),
    ("a password that is a list", signing_in("{password: {iam_endpoint: https://iam/v3, domain: d, username: u, password: [hunter2]}}"),
     "4: projects[0].auth.password.password: is a list; must be text in one line"),
    ("a secret key and its file", signing_in("{aksk: {access_key: a, secret_key: hunter2, secret_key_file: token}}"),
     "4: projects[0].auth.aksk: has secret_key and secret_key_file together; only one of secret_key and secret_key_file is allowed"),
    ("a security token and its file", signing_in("{aksk: {access_key: a, secret_key: hunter2, security_token: hunter2, security_token_file: token}}"),
     "4: projects[0].auth.aksk: has security_token and security_token_file together; only one of security_token and security_token_file is allowed"),
    ("a secret file that is not there", signing_in("{token_file: absent}"),
     '4: projects[0].auth.token_file: "absent" cannot be read: No such file or directory; must be the path of a readable file that holds the secret'),
    ("a secret file that is a directory", signing_in("{token_file: .}"),
     '4: projects[0].auth.token_file: "." cannot be read: Is a directory; must be the path of a readable file that holds the secret'),
    ("a secret file without content", signing_in("{token_file: empty}"),
     '4: projects[0].auth.token_file: "empty" cannot be read: it is empty; must be the path of a readable file that holds the secret'),
    ("a secret file of two lines", signing_in("{token_file: lines}"),
     '4: projects[0].auth.token_file: "lines" cannot be read: it holds more than one line of text; must be the path of a readable file that holds the secret'),
    ("a secret file of bytes", signing_in("{token_file: bytes}"),
     '4: projects[0].auth.token_file: "bytes" cannot be read: it is not UTF-8 text; must be the path of a readable file that holds the secret'),
    ("a secret in place of its file's path", signing_in('{token_file: "${TOKEN}"}'),
     '4: projects[0].auth.token_file: "${TOKEN}" cannot be read: No such file or directory; must be the path of a readable file that holds the secret'),
    ("a CA file without certificates", project("tls: {ca_file: token}"),
     '5: projects[0].tls.ca_file: "token" holds no certificates; must be the path of a readable file of PEM certificates'),
    ("a CA file that is not there", project("tls: {ca_file: absent}"),
     '5: projects[0].tls.ca_file: "absent" cannot be read: No such file or directory; must be the path of a readable file of PEM certificates'),
    ("no workspaces", project("workspaces: []"),
     "5: projects[0].workspaces: is an empty list; at least one item is required"),
    ("a workspace twice", project("workspaces: [0, 1, 0]"),
     '5: projects[0].workspaces[2]: "0" is the same as workspaces[0]; each may be listed once'),
    ("a single workspace", project("workspaces: 0"),
     '5: projects[0].workspaces: must be a list: [a, b], or one "- item" a line'),
    ("an empty item", project("workspaces: [0, ~]"),
     "5: projects[0].workspaces[1]: has no value; must be an id of up to 128 letters, digits, - and _"),
    ("yes for true", project("discovery: yes"),
     '5: projects[0].discovery: "yes" is not true or false'),
    ("no list and no ids", project("discovery: false"),
     "5: projects[0].discovery: is false without services.ids; list there what to watch, or set it to true"),
    ("a service twice", project("services: {ids: [a, b, a]}"),
     '5: projects[0].services.ids[2]: "a" is the same as ids[0]; each may be listed once'),
    ("an id with a slash", project("services: {ids: [a/b]}"),
     '5: projects[0].services.ids[0]: "a/b" is not an id of up to 128 letters, digits, - and _'),
    ("a regular expression that is none", project("services: {include_names: ['chat-(']}"),
     '5: projects[0].services.include_names[0]: "chat-(" cannot be compiled: missing ), unterminated subpattern at position 5; must be a regular expression'),
    ("a regular expression that is too large", project("services: {exclude_names: ['a{99999999999999999999}']}"),
     '5: projects[0].services.exclude_names[0]: "a{99999999999999999999}" cannot be compiled: it is too large; must be a regular expression'),
    ("no names to include", project("services: {include_names: []}"),
     "5: projects[0].services.include_names: is an empty list; at least one item is required"),
    ("an unknown type of service", project("services: {infer_types: [realtime]}"),
     '5: projects[0].services.infer_types[0]: "realtime" is not one of real-time, edge, batch'),
    ("a rate of zero", project("rate_limit: 0"),
     '5: projects[0].rate_limit: "0" is not a number above 0 and below 1000000, such as 0.5'),
    ("a negative rate", project("rate_limit: -1"),
     '5: projects[0].rate_limit: "-1" is not a number above 0 and below 1000000, such as 0.5'),
    ("an endless rate", project("rate_limit: inf"),
     '5: projects[0].rate_limit: "inf" is not a number above 0 and below 1000000, such as 0.5'),
    ("a concurrency of zero", project("concurrency: 0"),
     '5: projects[0].concurrency: "0" is not a whole number from 1 to 1000'),
    ("half a request", project("concurrency: 1.5"),
     '5: projects[0].concurrency: "1.5" is not a whole number from 1 to 1000'),
    ("a timeout over an hour", project("timeout: 2h"),
     '5: projects[0].timeout: "2h" is longer than an hour; must be a duration above 0 and up to 1h, such as 45s'),
    ("a timeout that is a mapping", project("timeout: {seconds: 45}"),
     "5: projects[0].timeout: is a mapping; must be a duration above 0 and up to 1h, such as 45s"),
    ("a duration without a unit", GOOD + "poll: {interval: 30}\n",
     '5: poll.interval: "30" is not a duration above 0 such as 500ms, 30s or 1h30m'),
    ("a duration in words", GOOD + "poll: {interval: 30 sec}\n",
     '5: poll.interval: "30 sec" is not a duration above 0 such as 500ms, 30s or 1h30m'),
    ("an interval of zero", GOOD + "poll: {active_interval: 0s}\n",
     '5: poll.active_interval: "0s" is not a duration above 0 such as 500ms, 30s or 1h30m'),
    ("a duration in the wrong order", GOOD + "poll: {sweep_interval: 30m1h}\n",
     '5: poll.sweep_interval: "30m1h" is not a duration above 0 such as 500ms, 30s or 1h30m'),
    ("a duration over a year", GOOD + "poll: {lateness: 400d}\n",
     '5: poll.lateness: "400d" is longer than a year; must be a duration such as 0s, 500ms or 10m'),
    ("a section that is a word", GOOD + "poll: fast\n",
     "5: poll: is a single value; must be a mapping with the keys interval, active_interval, sweep_interval, lateness"),
    ("a section that is a list", GOOD + "poll: [30s]\n",
     "5: poll: is a list; must be a mapping with the keys interval, active_interval, sweep_interval, lateness"),
    ("a value as long as a page", GOOD + f"history: {'x' * 81}\n",
     '5: history: "' + "x" * 80 + '…" is not one of count, skip'),
    ("an unknown history", GOOD + "history: forget\n",
     '5: history: "forget" is not one of count, skip'),
    ("a variable's value that is wrong", GOOD + "history: ${TOKEN}\n",
     '5: history: "${TOKEN}" is not one of count, skip'),
    ("a reason with a dash", GOOD + "causes: [{reason: gpu-driver, pattern: gpu, remedy: Wait.}]\n",
     '5: causes[0].reason: "gpu-driver" is not a name of lower-case letters and _, such as gpu_driver'),
    ("a cause without a remedy", GOOD + "causes: [{reason: gpu, pattern: gpu}]\n",
     "5: causes[0].remedy: is missing; must be text in one line"),
    ("an empty pattern", GOOD + 'causes: [{reason: gpu, pattern: "", remedy: Wait.}]\n',
     '5: causes[0].pattern: "" is empty; must be a regular expression'),
    ("a remedy of two lines", GOOD + 'causes: [{reason: gpu, pattern: gpu, remedy: "One.\\nTwo."}]\n',
     '5: causes[0].remedy: "One.\\nTwo." holds line breaks or control characters; must be text in one line'),
    ("an Alertmanager without address", pushing("labels: {team: ml}"),
     "5: alertmanager.urls: is missing; must be a list of at least one item"),
    ("an empty list of Alertmanagers", pushing("urls: []"),
     "6: alertmanager.urls: is an empty list; at least one item is required"),
    ("an Alertmanager twice", pushing("urls: [http://a:9093, http://a:9093]"),
     '6: alertmanager.urls[1]: "http://a:9093" is the same as urls[0]; each may be listed once'),
    ("two ways to sign in to Alertmanager", pushing("urls: [http://a:9093]\nbasic_auth: {username: u, password: hunter2}\nbearer_token_file: token"),
     "5: alertmanager: has basic_auth and bearer_token_file together; only one of basic_auth and bearer_token_file is allowed"),
    ("an external URL that is none", GOOD + "links: {external_url: exporter.example}\n",
     '5: links.external_url: "exporter.example" is not a URL such as https://host or https://host/path, without user:password@'),
    ("a link to the console with an unknown place", GOOD + "links: {console_url: 'https://console.example/{region}'}\n",
     '5: links.console_url: "https://console.example/{region}" is not a URL that may have {project_id} and {service_id} in it, and no other braces'),
    ("a link to the console with a password", GOOD + "links: {console_url: 'https://u:hunter2@console.example/'}\n",
     "5: links.console_url: <secret> is not a URL that may have {project_id} and {service_id} in it, and no other braces"),
    ("a label of the exporter's own", pushing("urls: [http://a:9093]\nlabels: {severity: page}"),
     "7: alertmanager.labels.severity: is set by the exporter; choose a name other than alertname, severity, source, project, service_id, service_name"),
    ("a label that is not one", pushing("urls: [http://a:9093]\nlabels: {cost-center: a, __x: b, 1st: c}"),
     "7: alertmanager.labels.1st: is not a label name; letters, digits and _ are allowed, but no digit and no __ in front",
     "7: alertmanager.labels.__x: is not a label name; letters, digits and _ are allowed, but no digit and no __ in front",
     "7: alertmanager.labels.cost-center: is not a label name; letters, digits and _ are allowed, but no digit and no __ in front"),
    ("a label without a value", pushing("urls: [http://a:9093]\nlabels: {team: }"),
     "7: alertmanager.labels.team: has no value; must be text in one line"),
    ("labels as a list", pushing("urls: [http://a:9093]\nlabels: [team]"),
     "7: alertmanager.labels: must be a mapping of names to values"),
]
# fmt: on


@pytest.mark.parametrize("mistake", MISTAKES, ids=[name for name, *_ in MISTAKES])
def test_an_error_has_the_line_the_key_the_rule_and_no_secret(mistake: tuple[str, ...]) -> None:
    _, text, *lines = mistake
    message = complaints(text, TOKEN=SECRET)
    assert message.splitlines() == [f"config.yml:{line}" for line in lines]
    assert SECRET not in message


def test_all_errors_of_a_file_are_reported_at_once_in_the_order_of_lines() -> None:
    message = complaints(
        """\
projects:
  - name: ${NAME}
    projectid: p1
    auth:
      password: {password: hunter2, iam_endpoint: nowhere}
      token_file: token
    services: {ids: [a, a], infer_types: [foo]}
poll: {interval: 0s}
causes:
  - {reason: GPU, pattern: "(", remedy: ""}
poll: {}
alertmanager: {urls: []}
"""
    )
    found = [
        line.split(": ")[0].removeprefix("config.yml:") + " " + line.split(": ")[1]
        for line in message.splitlines()
    ]
    assert found == [
        "2 projects[0].endpoint",
        "2 projects[0].name",
        "2 projects[0].project_id",
        "3 projects[0].projectid",
        "4 projects[0].auth",
        "5 projects[0].auth.password.domain",
        "5 projects[0].auth.password.iam_endpoint",
        "5 projects[0].auth.password.username",
        "7 projects[0].services.ids[1]",
        "7 projects[0].services.infer_types[0]",
        "8 poll.interval",
        "10 causes[0].pattern",
        "10 causes[0].reason",
        "10 causes[0].remedy",
        "11 poll",
        "12 alertmanager.urls",
    ]


def test_an_error_holds_its_problems_for_programs() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(GOOD + "history: forget\n")
    (problem,) = caught.value.problems
    assert (caught.value.file, problem.line, problem.path) == ("config.yml", 5, "history")
    assert problem.message == '"forget" is not one of count, skip'


def test_no_slip_of_the_hand_brings_a_piece_of_a_secret_into_an_error() -> None:
    secret = "correcthorsebattery"
    flow = GOOD.replace("{token_file: token}", f"{{aksk: {{access_key: a, secret_key: {secret}}}}}")
    block = GOOD.replace(
        "{token_file: token}", f"\n      aksk:\n        secret_key: {secret}\n        access_key: a"
    )
    pieces = {secret[start : start + 5] for start in range(len(secret) - 4)}
    for text in flow, block:
        for at in range(text.index("secret_key"), len(text)):
            slips = [
                text[:at] + text[at + 1 :],
                *(text[:at] + typed + text[at:] for typed in ",: {}\n\"'#*!&$"),
            ]
            for slip in slips:
                try:
                    loaded(slip)
                except ConfigError as error:
                    assert not [piece for piece in pieces if piece in str(error)], slip  # noqa: PT017


def test_no_cause_of_an_error_holds_the_input() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(signing_in("{password: {password: [hunter2]}}"))
    seen: list[BaseException] = [caught.value]
    while seen[-1].__cause__:
        seen.append(seen[-1].__cause__)
    assert [repr(error) for error in seen if SECRET in repr(error)] == []
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_file_that_cannot_be_read_is_one_sentence() -> None:
    with pytest.raises(
        ConfigError, match=r"^absent\.yml:1: \(file\): cannot be read: No such file or directory$"
    ):
        load("absent.yml", {})


def test_the_error_for_a_file_that_is_not_utf_8_has_the_line() -> None:
    Path("config.yml").write_bytes(GOOD.encode() + b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"^config\.yml:5: \(file\): is not UTF-8 text$"):
        load("config.yml", {})


def test_a_file_of_more_than_a_mebibyte_is_refused() -> None:
    assert complaints("#" * (1 << 20) + "\n") == (
        "config.yml:1: (file): is larger than 1 MiB, which no config file is"
    )


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert loaded("\ufeff" + GOOD).projects[0].name == "p1"


def test_the_smallest_file_has_the_documented_defaults() -> None:
    assert to_public_dict(loaded(GOOD)) == {
        "projects": [
            {
                "project_id": "p1",
                "name": "p1",
                "endpoint": "https://modelarts.example.com",
                "auth": {"token_file": "token"},
                "workspaces": ["0"],
                "discovery": True,
                "services": {
                    "ids": [],
                    "include_names": [".*"],
                    "exclude_names": [],
                    "infer_types": ["real-time", "edge", "batch"],
                },
                "rate_limit": 5.0,
                "concurrency": 4,
                "timeout": "45s",
                "tls": {"insecure_skip_verify": False},
            }
        ],
        "poll": {"interval": "30s", "active_interval": "10s", "sweep_interval": "5m", "lateness": "10m"},
        "history": "count",
        "store": {"keep_deleted": "90d"},
        "metrics": {"failure_message": True, "edge_nodes": True},
        "causes": [],
        "links": {},
    }


def test_a_configuration_that_is_shown_is_one_that_could_be_loaded() -> None:
    config = loaded(GOOD + "causes: [{reason: gpu, pattern: 'nvidia: #1', remedy: 'Drain — 漢.'}]\n")
    assert to_public_dict(loaded(to_public_yaml(config))) == to_public_dict(config)


def test_links_are_addresses_and_only_the_one_to_the_console_may_have_a_query() -> None:
    links = loaded(
        GOOD + "links:\n"
        "  external_url: https://exporter.example/modelarts/\n"
        "  runbooks_url: https://wiki.example/runbooks/\n"
        "  grafana_url: https://grafana.example\n"
        "  prometheus_url: https://prometheus.example/\n"
        "  console_url: 'https://console.example/?p={project_id}#/{service_id}'\n"
    ).links
    assert to_public_dict(links) == {
        "external_url": "https://exporter.example/modelarts",
        "runbooks_url": "https://wiki.example/runbooks",
        "grafana_url": "https://grafana.example",
        "console_url": "https://console.example/?p={project_id}#/{service_id}",
        "prometheus_url": "https://prometheus.example",
    }


def test_the_alertmanager_section_has_the_documented_defaults() -> None:
    alertmanager = loaded(pushing("urls: [http://127.0.0.1:9093/prefix/]")).alertmanager
    assert alertmanager
    assert to_public_dict(alertmanager) == {
        "urls": ["http://127.0.0.1:9093/prefix"],
        "tls": {"insecure_skip_verify": False},
        "labels": {},
        "severity": "critical",
        "resend_interval": "1m",
        "cause_wait": "20s",
    }


def test_durations_are_milliseconds() -> None:
    config = loaded(GOOD + "poll: {interval: 500ms, active_interval: 1h30m, lateness: 0s}\n")
    assert config.poll == Poll(interval=500, active_interval=5_400_000, sweep_interval=300_000, lateness=0)
    assert config.projects[0].timeout == 45_000


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("500ms", 500),
        ("30s", 30_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("30d", 2_592_000_000),
        ("1d1ms", 86_400_001),
    ],
)
def test_a_duration_is_read_and_written_alike(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds
    assert format_duration(milliseconds) == text


def test_no_duration_at_all_is_zero_seconds() -> None:
    assert format_duration(0) == "0s"


@pytest.mark.parametrize("text", ["", "30", "s", "1.5h", "-1s", "1m1h", "1s1s", " 1s", "1 s", "٣s"])
def test_the_error_for_a_wrong_duration_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration such as 0s, 500ms or 10m$"):
        parse_duration(text)


def test_a_duration_over_a_year_is_taken_for_a_slip() -> None:
    with pytest.raises(ValueError, match=r'^"400d" is longer than a year$'):
        parse_duration("400d")


def test_scalars_stay_what_was_written() -> None:
    (only,) = loaded(project("workspaces: [0, 007, 1_0]\nname: 12e45").replace("p1", "0123")).projects
    assert (only.project_id, only.name, only.workspaces) == ("0123", "12e45", ("0", "007", "1_0"))


@pytest.mark.parametrize("nothing", ["", "~", "null", "NULL"])
def test_a_key_without_a_value_counts_as_absent(nothing: str) -> None:
    text = project(f"name: {nothing}\nservices: {nothing}") + f"alertmanager: {nothing}\nhistory: {nothing}\n"
    assert loaded(text) == loaded(GOOD)


def test_quoted_null_is_text() -> None:
    assert loaded(project('name: "null"')).projects[0].name == "null"


def test_variables_expand_once_and_only_in_values() -> None:
    config = loaded(
        project("name: ${A}-$$-$B-$")
        + "causes: [{reason: gpu, pattern: gpu$, remedy: '$${A}'}]\n"
        + pushing("urls: ['http://${HOST}:9093']\nlabels: {team: \"${A}\"}").removeprefix(GOOD),
        A="${B}",
        HOST="localhost",
    )
    assert config.projects[0].name == "${B}-$-$B-$"
    assert config.causes[0].remedy == "${A}"
    assert config.causes[0].pattern.pattern == "gpu$"
    assert config.alertmanager
    assert config.alertmanager.urls == ("http://localhost:9093",)
    assert config.alertmanager.labels == {"team": "${B}"}
    assert '"${A}" is not a known key' not in complaints(GOOD + "${A}: count\n", A="history")


def test_the_content_of_a_secret_file_is_not_expanded(home: Path) -> None:
    (home / "token").write_text("${A}$$\n")
    token = loaded(GOOD, A="x").projects[0].auth.token_file
    assert token
    assert token.read() == "${A}$$"


def test_an_empty_variable_is_no_password() -> None:
    text = signing_in(
        "{password: {iam_endpoint: https://iam/v3, domain: d, username: u, password: '${IAM_PASSWORD}'}}"
    )
    assert complaints(text, IAM_PASSWORD="") == (
        "config.yml:4: projects[0].auth.password.password: <secret> is empty; must be text in one line"
    )


def test_a_variable_that_is_no_text_is_an_error() -> None:
    assert complaints(GOOD + "history: ${A}\n", A="\udcff") == (
        "config.yml:5: history: holds half a surrogate pair, which is not text"
    )


def test_anchors_aliases_and_merge_keys_are_understood() -> None:
    config = loaded(
        """\
projects:
  - &first
    project_id: p1
    endpoint: &endpoint https://modelarts.example.com
    auth: {token_file: token}
    timeout: 10s
  - <<: *first
    project_id: p2
  - <<: [{rate_limit: 1, timeout: 20s}, *first]
    project_id: p3
    endpoint: *endpoint
"""
    )
    assert [(p.name, p.timeout, p.rate_limit) for p in config.projects] == [
        ("p1", 10_000, 5.0),
        ("p2", 10_000, 5.0),
        ("p3", 20_000, 1.0),
    ]


def test_secrets_come_out_only_by_name() -> None:
    config = loaded(
        """\
projects:
  - project_id: p1
    endpoint: https://modelarts.example.com
    auth: {password: {iam_endpoint: https://iam/v3/, domain: d, username: u, password: "${P}"}}
  - project_id: p2
    endpoint: https://modelarts.example.com
    auth: {aksk: {access_key: a, secret_key: hunter2, security_token: hunter2}}
alertmanager:
  urls: [http://a:9093]
  basic_auth: {username: u, password: hunter2}
""",
        P=SECRET,
    )
    password, aksk = config.projects[0].auth.password, config.projects[1].auth.aksk
    assert password
    assert aksk
    assert config.alertmanager
    assert config.alertmanager.basic_auth
    assert password.iam_endpoint == "https://iam/v3"
    assert password.read_password() == SECRET
    assert aksk.read_secret_key() == SECRET
    assert aksk.read_security_token() == SECRET
    assert config.alertmanager.basic_auth.read_password() == SECRET
    shown = [
        repr(config),
        str(config),
        f"{password.password}",
        json.dumps(to_public_dict(config)),
        to_public_yaml(config),
    ]
    assert [text for text in shown if SECRET in text] == []
    assert all("<secret>" in text for text in shown)


def test_secret_files_are_relative_to_the_config_file_and_read_each_time(home: Path) -> None:
    (home / "conf").mkdir()
    (home / "conf" / "token").write_text("one\n")
    (home / "conf" / "config.yml").write_text(
        signing_in("{aksk: {access_key: a, secret_key_file: token, security_token_file: token}}")
    )
    aksk = load("conf/config.yml", {}).projects[0].auth.aksk
    assert aksk
    assert aksk.read_secret_key() == "one"
    (home / "conf" / "token").write_text("two\n")
    assert (aksk.read_secret_key(), aksk.read_security_token()) == ("two", "two")
    (home / "conf" / "token").unlink()
    with pytest.raises(
        SecretUnreadable, match=r"^the secret file 'conf/token' cannot be read: No such"
    ) as caught:
        aksk.read_secret_key()
    assert isinstance(caught.value, OSError)
    assert caught.value.strerror == "No such file or directory"


def test_permanent_keys_have_no_security_token() -> None:
    aksk = loaded(signing_in("{aksk: {access_key: a, secret_key: b}}")).projects[0].auth.aksk
    assert aksk
    assert aksk.read_security_token() is None


def test_equal_files_make_equal_configs_and_a_changed_secret_does_not() -> None:
    text = signing_in("{aksk: {access_key: a, secret_key: '${S}'}}")
    assert loaded(text, S="1") == loaded(text, S="1")
    assert loaded(text, S="1") != loaded(text, S="2")


def test_a_config_is_frozen() -> None:
    config = loaded(pushing("urls: [http://a:9093]\nlabels: {team: ml}"))
    with pytest.raises(ValueError, match="frozen"):
        config.history = "skip"
    assert config.alertmanager
    labels: Any = config.alertmanager.labels
    with pytest.raises(TypeError, match="item assignment"):
        labels["team"] = "other"


def test_a_config_can_be_made_in_code_under_the_same_rules() -> None:
    made = Project(
        project_id="p1", endpoint="http://127.0.0.1:1", auth=Auth(token_file=SecretFile(Path("token")))
    )
    assert (made.name, made.timeout) == ("p1", 45_000)
    assert Config(projects=(made,)).poll.interval == 30_000
    with pytest.raises(ValueError, match="has none of password, aksk and token_file"):
        Auth()
    with pytest.raises(ValueError, match="has no host"):
        Project(project_id="p1", endpoint="http://", auth=made.auth)
    with pytest.raises(ValueError, match=r"is false without services\.ids"):
        Project(project_id="p1", endpoint="http://a", auth=made.auth, discovery=False)
    only = Project(
        project_id="p1", endpoint="http://a", auth=made.auth, discovery=False, services=Services(ids=("a",))
    )
    assert only.services.ids == ("a",)


def test_a_secret_is_equal_by_content_and_hidden_in_every_form() -> None:
    assert Secret(SECRET) == Secret(SECRET)
    assert [str(Secret(SECRET)), repr(Secret(SECRET)), f"{Secret(SECRET)}"] == [
        "<secret>",
        "<secret>",
        "<secret>",
    ]


@pytest.mark.parametrize(
    ("services", "service", "wanted"),
    [
        ("{}", ("a", "chat", "real-time"), True),
        ("{}", ("a", "chat", "serverless"), True),
        ("{}", ("a", "", ""), True),
        ("{infer_types: [edge]}", ("a", "chat", "edge"), True),
        ("{infer_types: [edge]}", ("a", "chat", "batch"), False),
        ("{infer_types: [edge]}", ("a", "chat", "serverless"), False),
        ("{infer_types: [batch, edge, real-time]}", ("a", "chat", "serverless"), True),
        ("{ids: [a]}", ("a", "chat", "edge"), True),
        ("{ids: [a]}", ("b", "chat", "edge"), False),
        ("{}", ("a", "chat\n1", "edge"), True),
        ("{include_names: ['.+']}", ("a", "chat\n1", "edge"), True),
        ("{exclude_names: ['.+']}", ("a", "chat\n1", "edge"), False),
        ("{include_names: [chat]}", ("a", "chat-1", "edge"), False),
        ("{include_names: [chat, 'chat-.*']}", ("a", "chat-1", "edge"), True),
        ("{include_names: [chat]}", ("a", "my-chat", "edge"), False),
        ("{include_names: ['a|b']}", ("a", "ab", "edge"), False),
        ("{include_names: [chat]}", ("a", "Chat", "edge"), False),
        ("{exclude_names: ['.*-tmp']}", ("a", "chat-tmp", "edge"), False),
        ("{exclude_names: ['-tmp']}", ("a", "chat-tmp", "edge"), True),
        ("{ids: [a], exclude_names: [chat]}", ("a", "chat", "edge"), False),
    ],
)
def test_a_service_is_watched_if_it_passes_every_filter(
    services: str, service: tuple[str, str, str], wanted: bool
) -> None:
    chosen = loaded(project(f"services: {services}")).projects[0].services
    assert chosen.wants(*service) is wanted


def test_the_pattern_of_a_cause_ignores_case() -> None:
    (rule,) = loaded(
        GOOD + "causes: [{reason: gpu_driver, pattern: 'nvidia.*driver', remedy: Reboot.}]\n"
    ).causes
    assert rule.pattern.search("The NVIDIA kernel Driver is gone")
    assert not rule.pattern.search("driver nvidia")


@pytest.mark.parametrize("url", ["http://proxy:3128", "https://proxy", "none"])
def test_a_proxy_is_a_url_or_none(url: str) -> None:
    (only,) = loaded(project(f"proxy_url: {url}")).projects
    assert (only.proxy_url, only.proxy_basic_auth) == (url, None)


def test_a_proxy_may_want_a_user_and_a_password(home: Path) -> None:
    (home / "proxy").write_text("p@ss\n")
    login = "proxy_url: http://proxy:3128\nproxy_basic_auth: {username: u, password_file: proxy}"
    (only,) = loaded(project(login)).projects
    assert only.proxy_basic_auth is not None
    assert only.proxy_basic_auth.login() == ("u", "p@ss")
    for url in ("", "proxy_url: none\n"):
        with pytest.raises(ConfigError, match="proxy_basic_auth: is set without the URL of a proxy"):
            loaded(project(f"{url}proxy_basic_auth: {{username: u, password_file: proxy}}"))


def test_a_byte_order_mark_is_no_part_of_a_secret(home: Path) -> None:
    (home / "token").write_bytes("\ufeffs3cr3t\r\n".encode())
    (only,) = loaded(signing_in("{token_file: token}")).projects
    assert only.auth.token_file is not None
    assert only.auth.token_file.read() == "s3cr3t"
    inline = '{aksk: {access_key: a, secret_key: "${SK}"}}'
    (only,) = loaded(signing_in(inline), SK="\ufeffs3cr3t").projects
    assert only.auth.aksk is not None
    assert only.auth.aksk.read_secret_key() == "s3cr3t"


def test_discovery_may_be_off_where_ids_are_given() -> None:
    (only,) = loaded(project("discovery: false\nservices: {ids: [a]}")).projects
    assert (only.discovery, only.services.ids) == (False, ("a",))


def test_the_example_file_is_valid_and_shows_the_defaults() -> None:
    config = load(
        ROOT / "deploy/config.example.yml",
        {"IAM_PASSWORD": SECRET, "STAGING_AK": "AK", "STAGING_SK": SECRET},
    )
    assert [one.name for one in config.projects] == ["prod", "staging"]
    assert config.poll == loaded(GOOD).poll


def test_what_the_example_file_has_commented_out_is_valid_too(home: Path) -> None:
    text = (ROOT / "deploy/config.example.yml").read_text()
    # Code in comments is what has a key at once; prose has a space before any colon.
    text = re.sub(r"^( *)# (?=( *)[a-z_]+:)", r"\1", text, flags=re.MULTILINE)
    text = re.sub(r"^.*_file: /.*$", "", text, flags=re.MULTILINE).replace("tls:", "tls: {}")
    text = text.replace("ids: []", "ids: [a]")
    environ = dict.fromkeys(["IAM_PASSWORD", "STAGING_AK", "STAGING_SK", "ALERTMANAGER_PASSWORD"], SECRET)
    config = loaded(text, **environ)
    assert config.projects[0].proxy_url == "http://proxy.example.com:3128"
    assert config.projects[1].services.ids == ("a",)
    assert config.alertmanager
    assert config.alertmanager.labels == {"team": "ml"}


def test_the_reference_page_is_up_to_date() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert page == reference(), "run: python -m docs.source.configuration > docs/configuration.md"


def test_a_large_list_of_services_still_fits(home: Path) -> None:
    ids = [f"{number:08x}-908d-45a7-90a4-65f98e69fc34" for number in range(2_000)]
    assert loaded(project(f"services: {{ids: [{', '.join(ids)}]}}")).projects[0].services.ids == tuple(ids)
