"""HTTP to any server: one exchange ends by one deadline, is bounded in size, and follows no redirect."""

from exporter.adapters.http_client.client import NO_PROXY, USER_AGENT, Answer, HttpClient, http_date_ms

__all__ = ["NO_PROXY", "USER_AGENT", "Answer", "HttpClient", "http_date_ms"]
