"""The metrics of what a service's newest update deploys: its models, and the pool that they run in."""

from collections.abc import Callable, Iterable

from exporter.core.accounting.labels import Labels, ServiceView, label_text
from exporter.core.metrics.family import Sample, Samples, gauge
from exporter.core.records import Model

_LABELS = ("model_id", "model_name", "model_version")

_BYTES_PER_MB = 1024 * 1024  # the API's MB is the MiB of its flavours


def _models(view: ServiceView) -> tuple[Model, ...]:
    newest = view.state.newest
    return newest.models if newest else ()


def _labels(model: Model) -> Labels:
    return (
        ("model_id", label_text(model.model_id)),
        ("model_name", label_text(model.model_name)),
        ("model_version", label_text(model.model_version)),
    )


def _info(view: ServiceView) -> Iterable[Sample]:
    rows = dict.fromkeys(
        (*_labels(model), ("specification", label_text(model.specification))) for model in _models(view)
    )
    return [Sample("", view.labels + labels, 1) for labels in rows]


def _pool(view: ServiceView) -> Iterable[Sample]:
    newest = view.state.newest
    if newest is None or not newest.cluster_id:
        return ()
    return (Sample("", (*view.labels, ("cluster_id", label_text(newest.cluster_id))), 1),)


def _value_of(pick: Callable[[Model], float | None]) -> Samples:
    """A number of each model that has it."""

    def samples(view: ServiceView) -> Iterable[Sample]:
        found: dict[Labels, float] = {}
        for model in _models(view):
            value = pick(model)
            if value is not None:
                # One model with two configurations is one series: what it has in all.
                labels = _labels(model)
                found[labels] = found.get(labels, 0) + value
        return [Sample("", view.labels + labels, value) for labels, value in found.items()]

    return samples


FAMILIES = (
    gauge("service_model_info", "A model of the newest update; always 1.", _info, *_LABELS, "specification"),
    gauge(
        "service_pool_info",
        "The dedicated pool of the newest update, absent in the public pool; always 1.",
        _pool,
        "cluster_id",
    ),
    gauge(
        "service_model_traffic_weight_ratio",
        "Share of the traffic, 0 to 1.",
        _value_of(lambda model: None if model.weight is None else model.weight / 100),
        *_LABELS,
    ),
    gauge(
        "service_model_instances", "Instances asked for.", _value_of(lambda model: model.instances), *_LABELS
    ),
    gauge(
        "service_model_cpu_cores",
        "CPU cores of the custom specification.",
        _value_of(lambda model: model.cpu_cores),
        *_LABELS,
    ),
    gauge(
        "service_model_memory_bytes",
        "Memory of the custom specification.",
        _value_of(lambda model: None if model.memory_mb is None else model.memory_mb * _BYTES_PER_MB),
        *_LABELS,
    ),
    gauge(
        "service_model_gpus",
        "GPUs of the custom specification.",
        _value_of(lambda model: model.gpus),
        *_LABELS,
    ),
)
