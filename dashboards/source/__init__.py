"""The dashboards as Python: `python -m dashboards.source.build` writes the JSON files beside this package."""

import importlib
import warnings

with warnings.catch_warnings():
    # The SDK recommends its v2 model by a warning at import, but Grafana provisions only the classic model.
    warnings.simplefilter("ignore", DeprecationWarning)
    importlib.import_module("grafana_foundation_sdk.models.dashboard")
