"""The command `assets`: writes rules, dashboards, runbooks and examples of a deployment into a folder."""

from collections.abc import Mapping
from pathlib import Path

from exporter.assets import alert_rules, names, path


def write(directory: Path, alerts_config: Path | None, *, force: bool) -> None:
    """Write every file that users need, laid out as in the repository, and print what was written.

    Args:
        directory: made if it does not exist.
        alerts_config: the keys of `alerts/config.yml` that differ in these rules.
        force: overwrite files that differ; without it, one such file is an error and nothing is written.

    Raises:
        AlertConfigError, OSError, ValueError: with the sentence for the user.

    """
    # The template is for the renderer, which is this command.
    contents = {name: path(name).read_bytes() for name in names() if not name.endswith(".j2")}
    if alerts_config is not None:
        rules = alert_rules.render(alert_rules.load(alerts_config))
        contents[alert_rules.RULES] = rules.encode()
    wanted = {directory / name: content for name, content in contents.items()}
    present = {file: file.read_bytes() for file in wanted if file.exists()}
    changes = {file: content for file, content in wanted.items() if present.get(file) != content}
    overwritten = [str(file) for file in changes if file in present]
    if overwritten and not force:
        raise ValueError(
            f"Nothing was written, because other text is in: {', '.join(overwritten)}. --force overwrites it."
        )
    directory.mkdir(parents=True, exist_ok=True)
    _write(changes)
    # Last, so that a reader who stops reading ends no writing.
    for file in changes:
        print(file)
    print(f"{directory}: {len(changes)} written, {len(wanted) - len(changes)} there already")


def _write(contents: Mapping[Path, bytes]) -> None:
    """Write each file whole or not at all, because half of one would count as the user's own next time."""
    for file, content in contents.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        try:
            part.write_bytes(content)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
