"""Text from outside made fit to be shown: one line, no tricks, no secrets, of bounded length.

Anything that looks like a secret goes, even if that takes a harmless word with it: a lost word costs
a look into the cloud's console, a leaked key costs more.
"""

import re

_ELLIPSIS = "…"
SECRET = "<secret>"  # noqa: S105 - what stands in its place

_SURROGATE = re.compile("[\ud800-\udfff]")
# Soft hyphen, zero-width, bidirectional and tag characters: invisible, and able to disguise a text.
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

# Greedy up to the last "@" before the path: a password may hold one. After the secrets, so that it may
# meet their replacement.
_USER_INFO = re.compile(r"(://)[^/\s?#]*@")

# A name counts by what it ends in or contains (`db_password`, `secretKey`); the short ones only as a word
# of their own (`OBS_SK`, not `task`), `token` not in `tokenizer`. The bound keeps a hostile text linear.
_REST = r"[a-z0-9_.-]{0,64}+"
_NAME = (
    r"(?:(?:password|passwd|passphrase|pwd|secret|credential|authorization|signature"
    rf"|(?:api|access|private)[_.-]?key){_REST}"
    rf"|token(?:[_.-]{_REST})?+"
    r"|(?<![a-z0-9])(?:ak|sk)"
    r"|密码|口令|令牌|密钥)"
)
# The quote closes a JSON key, escaped where JSON stands inside JSON; the last two are full-width.
_SEPARATOR = r"\\*[\"']?\s?(?::=|=>|==|[:=\uff1a\uff1d])\s?"
# A quote that is never closed hides all that follows.
_QUOTED = (
    r"(?=(?P<quote>\\*[\"']))"
    r"(?:\\+\"[^\"]*+(?:\"|\Z)|\\+'[^']*+(?:'|\Z)"
    r"|\"(?:[^\"\\]|\\.)*+(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*+(?:'|\\?\Z))"
)
# A signed header has many parts, so it goes to the end; "&" ends a value only where the next parameter
# of a URL begins. Written out rather than as a possessive group, which Python 3.11.2 gets wrong.
_AMPERSAND = r"&(?![a-z0-9_.-]{1,64}=)"
_BARE = (
    r"(?:(?:sdk-hmac-sha256|digest) .*"
    rf"|(?:(?:basic|bearer|negotiate) )?(?:[^\s&]|{_AMPERSAND})[^\s&]*(?:{_AMPERSAND}[^\s&]*)*)"
)
_PAIR = re.compile(
    rf"(?P<lead>{_NAME}{_SEPARATOR})(?:{_QUOTED}|{_BARE})"
    rf"|(?P<bearer>(?<![a-z0-9])bearer )\S++",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    """The same without characters that cannot be seen or do something: each of these controls is a space.

    Invisible ones go, lone surrogates become U+FFFD; nothing else changes.
    """
    return _CONTROL.sub(" ", _INVISIBLE.sub("", _SURROGATE.sub("\ufffd", text)))


def scrub(text: str, limit: int = 200) -> str:
    """One line of at most `limit` characters (1 or more), fit for a label, a log or a page.

    White space is folded, control and invisible characters go, lone surrogates become U+FFFD, values that
    are named like a secret, bearer tokens and user info in URLs go. Escaping for HTML or for
    the exposition format stays the caller's. Scrubbing twice is scrubbing once.
    """
    text = " ".join(printable(text).split())
    text = _USER_INFO.sub(r"\1", _PAIR.sub(_masked, text))
    if len(text) <= limit:
        return text
    shown = text[: limit - 1] + _ELLIPSIS
    # Half a replacement would read as a secret, and a cut may make a pair where there was none.
    while pair := next((each for each in _PAIR.finditer(shown) if _masked(each) != each[0]), None):
        shown = shown[: pair.start()] + _ELLIPSIS
    return shown


def _masked(pair: re.Match[str]) -> str:
    quote = pair["quote"] or ""
    return f"{pair['lead'] or pair['bearer']}{quote}{SECRET}{quote}"
