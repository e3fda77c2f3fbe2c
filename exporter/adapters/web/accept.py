"""What a client wants to be sent, from its Accept and Accept-Encoding headers (RFC 9110, section 12.5)."""

from collections.abc import Iterator

_OPENMETRICS = "application/openmetrics-text"
# What Prometheus may ask OpenMetrics 1.0.0 as; the older 0.0.1 is another format.
_OPENMETRICS_VERSIONS = ("", "1.0.0")
_TEXT = ("text/plain", "text/*", "*/*")


def openmetrics_wanted(accept: str) -> bool:
    """Whether OpenMetrics 1.0.0 is wanted more than the text format 0.0.4; of equals, the first named.

    A client that names neither gets the text format, as from every exporter.
    """
    wanted = sorted(_ranked(accept), key=lambda item: -item[1])  # stable: equals stay in their order
    for name, quality, parameters in wanted:
        if quality > 0 and name == _OPENMETRICS and parameters.get("version", "") in _OPENMETRICS_VERSIONS:
            return True
        if quality > 0 and name in _TEXT:
            return False
    return False


def gzip_wanted(accept_encoding: str) -> bool:
    """Whether gzip is allowed: named, or covered by `*`, with a quality above 0."""
    qualities = {name: quality for name, quality, _ in _ranked(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _ranked(header: str) -> Iterator[tuple[str, float, dict[str, str]]]:
    """Each name with its quality (0 to 1; one that is no number counts as 0) and its parameters."""
    for item in header.split(","):
        name, *pairs = (part.strip() for part in item.split(";"))
        parameters = {}
        for pair in pairs:
            key, _, value = pair.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"')
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if name:
            yield name.lower(), quality, parameters
