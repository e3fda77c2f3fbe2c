"""Prometheus exporter that sees failed deployments of ModelArts inference services."""
