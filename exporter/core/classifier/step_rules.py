"""The table of what normal-typed texts tell: data only, in English and Chinese."""

from typing import NamedTuple

PHASES = ("image_build", "environment", "scheduling", "image_pull", "startup")


# A normal-typed event is a failure only if one of these is found: progress is told in many words,
# failure in few.
NORMAL_FAILURES = (
    r"\bfail(?:ed|s|ure)? to [a-z]",
    r"\b(?:has|have) failed\b",
    r"\bha(?:s|ve) been rolled back\b",
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


PROGRESS = (
    StepRule(
        "begin",
        "",
        (
            r"(?:the )?(?:service )?start(?:s|ed|ing)? to deploy(?: (?:the )?service)?",
            r"(?:the )?service (?:is being|starts? being) (?:deployed|updated|upgraded|started)",
            r"(?:服务)?(?:正在|开始)(?:部署|更新|升级|启动)(?:服务)?",
            r"服务(?:正在)?(?:部署|更新|升级|启动)中",
        ),
    ),
    StepRule(
        "start",
        "image_build",
        (
            r"building (?:the )?(?:model )?image(?: for (?:the )?model)?",
            r"(?:the )?image starts? to (?:be )?(?:create|build|created|built)",
            r"(?:正在|开始)?(?:为模型)?(?:构建|创建)(?:模型)?镜像",
            r"(?:模型)?镜像(?:正在|开始)(?:构建|创建)",
            r"(?:模型)?镜像(?:构建|创建)中",
        ),
    ),
    StepRule(
        "end",
        "image_build",
        (
            r"(?:model )?(?:build|create) image success(?:fully)?",
            r"(?:the )?image (?:is |was |has been )?(?:created|built)(?: successfully)?",
            r"(?:模型)?(?:构建|创建)(?:模型)?镜像(?:成功|完成)",
            r"(?:模型)?镜像(?:已(?:构建|创建)|(?:构建|创建)(?:成功|完成))",
        ),
    ),
    StepRule(
        "start",
        "environment",
        (
            r"preparing (?:the )?environment",
            r"(?:正在|开始)?准备环境",
            r"环境准备中",
        ),
    ),
    StepRule(
        "end",
        "environment",
        (
            r"prepare environment success(?:fully)?",
            r"(?:准备环境|环境准备)(?:成功|完成)",
        ),
    ),
    StepRule(
        "end",
        "scheduling",
        (
            r"schedule resources? success(?:fully)?",
            r"(?:调度资源|资源调度)(?:成功|完成)",
        ),
    ),
    StepRule(
        "start",
        "image_pull",
        (
            r"pulling (?:the )?(?:model )?image",
            r"(?:正在|开始)?拉取(?:模型)?镜像",
            r"(?:模型)?镜像拉取中",
        ),
    ),
    StepRule(
        "end",
        "image_pull",
        (
            r"pull (?:model )?image success(?:fully)?",
            r"(?:拉取(?:模型)?镜像|(?:模型)?镜像拉取)(?:成功|完成)",
        ),
    ),
    StepRule(
        "start",
        "startup",
        (
            r"starting (?:the )?model",
            r"(?:正在|开始)?启动模型",
            r"模型启动中",
        ),
    ),
    StepRule(
        "end",
        "startup",
        (
            r"(?:the )?(?:service|model) (?:is |was |has been )?started(?: successfully)?",
            r"start (?:service|model) success(?:fully)?",
            # The name stands between, and may be Chinese too.
            r"服务[^,.;:。、]{0,128}(?:已启动|启动成功|启动完成)",
            r"(?:启动模型|模型启动)(?:成功|完成)",
        ),
    ),
)
