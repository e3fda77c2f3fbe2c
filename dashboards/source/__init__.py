"""The dashboards as Python: `python -m dashboards.source.build` writes the JSON files beside this package."""

import importlib
import warnings

with warnings.catch_warnings():
    # The SDK would have us write its v2 model at import; Grafana provisions files in the classic model alone.
    warnings.simplefilter("ignore", DeprecationWarning)
    importlib.import_module("grafana_foundation_sdk.models.dashboard")
