"""The table of the steps that normal-typed texts report: data only, in English and Chinese."""

from typing import NamedTuple

PHASES = ("image_build", "environment", "scheduling", "image_pull", "startup")


# A normal-typed event is a failure only if one of these is found: progress is reported in many words, failure
# in few.
NORMAL_FAILURES = (
    r"\bfail(?:ed|s|ure)? to [a-z]",
    r"\b(?:has|have) failed\b",
    r"\b(?:could not be|unable to)\b",
    r"\b(?:ha(?:s|ve) been|was|were) rolled back\b",
    r"\brollback (?:has )?failed\b",
    r"失败(?!次数|率|后|重试|策略)",
    r"已(?:经|被)?回滚",
    r"执行回滚",
)


class StepRule(NamedTuple):
    """One row: a text is this step if it is one of the patterns from end to end.

    That is, in plain spelling, without the names and the full stop; a failure that quotes a step is none.
    """

    mark: str  # "begin" of a deployment; "start" or "end" of a phase
    phase: str
    patterns: tuple[str, ...]


_START = r"start(?:s|ed|ing)?"
_SUCCESS = r"(?:success(?:ful|fully)?|succeed(?:s|ed)?|completed?)"
# "image built", "the image has been built successfully"
_HAS_BEEN = r"(?:is |are |was |were |has been |have been )?"
_DONE = rf"(?: {_SUCCESS})?"
_IMAGE = r"(?:the )?(?:model )?image(?: for (?:the )?model)?"
_SUBJECT = r"(?:the )?(?:service|model)"

PROGRESS = (
    StepRule(
        "begin",
        "",
        (
            rf"(?:the )?(?:service )?(?:has )?{_START} to deploy(?: (?:the )?service)?",
            rf"(?:the )?(?:service deployment|deployment(?: of (?:the )?service)?) (?:has |is )?{_START}",
            r"(?:the )?service (?:is being|starts? being) (?:deployed|updated|upgraded|started)",
            r"(?:服务)?(?:正在|开始)(?:部署|更新|升级|启动)(?:服务)?",
            r"服务(?:正在)?(?:部署|更新|升级|启动)中",
        ),
    ),
    StepRule(
        "start",
        "image_build",
        (
            rf"(?:{_START} )?building {_IMAGE}",
            rf"{_START} to build {_IMAGE}",
            rf"{_IMAGE} (?:{_START} to (?:be )?(?:create|build|created|built)|is being (?:created|built))",
            r"(?:正在|开始)?(?:为模型)?(?:构建|创建)(?:模型)?镜像",
            r"(?:模型)?镜像(?:正在|开始)(?:构建|创建)",
            r"(?:模型)?镜像(?:构建|创建)中",
        ),
    ),
    StepRule(
        "end",
        "image_build",
        (
            rf"(?:model )?(?:build|create) {_IMAGE} {_SUCCESS}",
            rf"{_IMAGE} {_HAS_BEEN}(?:created|built){_DONE}",
            r"(?:模型)?(?:构建|创建)(?:模型)?镜像(?:成功|完成)",
            r"(?:模型)?镜像(?:已(?:构建|创建)|(?:构建|创建)(?:成功|完成))",
        ),
    ),
    StepRule(
        "start",
        "environment",
        (
            rf"(?:{_START} )?preparing (?:the )?environment",
            rf"{_START} to prepare (?:the )?environment",
            r"(?:the )?environment is being prepared",
            r"(?:正在|开始)?准备环境",
            r"环境准备中",
        ),
    ),
    StepRule(
        "end",
        "environment",
        (
            rf"(?:prepare (?:the )?environment|(?:the )?environment (?:prepare|preparation)) {_SUCCESS}",
            rf"(?:the )?environment {_HAS_BEEN}prepared{_DONE}",
            r"(?:准备环境|环境准备)(?:成功|完成)",
        ),
    ),
    StepRule(
        "end",
        "scheduling",
        (
            rf"(?:schedule (?:the )?resources?|resources? (?:schedule|scheduling)) {_SUCCESS}",
            rf"(?:the )?resources? {_HAS_BEEN}scheduled{_DONE}",
            r"(?:调度资源|资源调度)(?:成功|完成)",
        ),
    ),
    StepRule(
        "start",
        "image_pull",
        (
            rf"(?:{_START} )?pulling {_IMAGE}",
            rf"{_START} to pull {_IMAGE}",
            rf"{_IMAGE} is being pulled",
            r"(?:正在|开始)?拉取(?:模型)?镜像",
            r"(?:模型)?镜像拉取中",
        ),
    ),
    StepRule(
        "end",
        "image_pull",
        (
            rf"(?:pull {_IMAGE}|{_IMAGE} pull) {_SUCCESS}",
            rf"{_IMAGE} {_HAS_BEEN}pulled{_DONE}",
            r"(?:拉取(?:模型)?镜像|(?:模型)?镜像拉取)(?:成功|完成)",
        ),
    ),
    StepRule(
        "start",
        "startup",
        (
            r"starting (?:the )?model",
            rf"{_START} to start (?:the )?model",
            r"(?:the )?model is being started",
            r"(?:正在|开始)?启动模型",
            r"模型启动中",
        ),
    ),
    StepRule(
        "end",
        "startup",
        (
            rf"{_SUBJECT} {_HAS_BEEN}started{_DONE}",
            rf"start {_SUBJECT} {_SUCCESS}",
            rf"started {_SUBJECT}{_DONE}",
            # The name stands between, and may be Chinese too.
            r"服务[^,.;:。、]{0,128}(?:已启动|启动成功|启动完成)",
            r"(?:启动模型|模型启动)(?:成功|完成)",
        ),
    ),
)
