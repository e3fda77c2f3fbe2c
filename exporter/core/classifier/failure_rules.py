"""The table of what event texts tell: data only, in English and Chinese, read from top to bottom.

Patterns are matched without regard to case, against a text whose full-width characters are folded to
plain ones, whose white space is single spaces, and from which names of models and services are gone.
Repetitions are bounded, so that no text can make a search slow.

The texts in the vendor's tables are translations, and few raw ones are public; so the patterns
are keywords rather than sentences, and what no pattern knows is counted as unclassified.
"""

from typing import NamedTuple


class FailureRule(NamedTuple):
    """One row: the first whose pattern is found gives the reason."""

    reason: str
    phase: str  # of the deployment, where the failure belongs to one
    patterns: tuple[str, ...]
    source: str  # how we know, for whoever doubts it
    remedy: str = ""  # "": that of the reason


# Code numbers count only beside the product's name or the word code: "3976 MB" is no failure code.
_CODE = r"(?:modelarts|error[ _]?code|错误码)\W{0,5}(?:modelarts\W{0,3})?"

FAILURES = (
    # What was being done names the cause better than how it went wrong: a pull that timed out, or ran
    # out of disk, is a failed pull.
    FailureRule(
        "image_build",
        "image_build",
        (
            r"failed to (?:create|build) (?:(?:the|a|an|model) ){0,2}image\b",
            r"(?:build|creat)\w{0,4} (?:(?:the|model) )?image .{0,20}(?:fail|timed out)",
            r"\bimage (?:build|creat)\w{0,4} (?:task )?(?:has )?(?:fail|timed out)",
            r"\bbuild task timed out",
            r"(?:构建|创建|制作)(?:模型)?镜像.{0,20}(?:失败|超时)",
            r"镜像.{0,10}(?:构建|创建|制作).{0,10}(?:失败|超时)",
        ),
        "service event table, model event page; a build may take 30 minutes",
    ),
    FailureRule(
        "image_build",
        "image_build",
        (
            r"customize model does not support dependencies",
            r"should not contain swr_location",
            r"\binvalid .{0,60} in config\.json",
            r"\bis larger than .{0,20} cannot be imported",
            r"不支持指定依赖",
            r"不支持指定swr_location",
            r"(?:模型)?配置文件包含非法参数",
            r"大于.{0,20}无法导入",
        ),
        "model event page: what is wrong with the model's own description",
        "Correct the model's config.json, dependencies (in the Dockerfile of a custom image) or size;"
        " import it again.",
    ),
    FailureRule(
        "image_pull",
        "image_pull",
        (
            r"failed to pull\b",
            r"\bpull\w{0,3} (?:(?:the|model) )?image .{0,20}fail",
            r"\bimage pull\w{0,3} .{0,20}fail",
            r"\berrimage(?:never)?pull\b",
            r"\bimagepullbackoff\b",
            r"\bback-?off pulling image\b",
            r"\binvalidimagename\b",
            r"\bmanifest (?:unknown|.{0,80}not found)",
            r"\bimage .{0,128}does not have the .{0,128}tag\b",
            r"failed to obtain the tag list of image",
            r"拉取.{0,20}镜像.{0,20}(?:失败|超时)",
            r"拉取(?:失败|超时)",
            r"镜像.{0,20}拉取.{0,10}(?:失败|超时)",
            r"镜像.{0,128}不存在.{0,128}标签",
            r"获取镜像.{0,128}标签列表失败",
        ),
        "raw message of the Events tab, model event page, words of Kubernetes",
    ),
    FailureRule(
        "health_check",
        "startup",
        (
            r"\bhealth[ _-]?check",
            r"\b(?:readiness|liveness)\b",
            r"\bstartup ?probe\b",
            r"\bunhealthy\b",
            r"健康检查",
            r"(?:就绪|存活)探针",
        ),
        "troubleshooting pages, model event page, words of Kubernetes",
    ),
    FailureRule(
        "billing",
        "",
        (
            _CODE + r"411[68]\b",
            r"\barrears\b",
            r"\b(?:is|are|was|in) owed\b",
            r"\baccount .{0,40}(?:suspended|frozen|restricted)",
            r"\binsufficient (?:account )?(?:balance|funds?)\b",
            r"\blicen[cs]e .{0,128}expire",
            r"欠费",
            r"余额不足",
            r"账[户号].{0,20}(?:冻结|受限|暂停)",
            r"(?:许可证|license|订阅|套餐|资源包).{0,128}(?:到期|过期)",
        ),
        "error codes 4116 (arrears) and 4118 (suspended), keywords",
    ),
    FailureRule(
        "quota",
        "",
        (
            _CODE + r"(?:352[0-2]|486[01]|0116)\b",
            r"\bquotas?\b",
            r"\bexceed\w{0,3} the (?:upper )?limit",
            r"配额",
            r"超[过出].{0,10}上限",
        ),
        "service event table row 16; codes 3520 to 3522 (services, running, instances), 4860, 4861",
    ),
    # Before memory: "insufficient memory" is the scheduler's word for a full node.
    FailureRule(
        "insufficient_resources",
        "scheduling",
        (
            _CODE + r"(?:3952|3976)\b",
            r"\binsufficient\b(?! (?:permission|privilege|right|access))",
            r"\bno (?:idle |available )?resources? (?:is|are) available\b",
            r"\bschedul\w{0,3} (?:has )?fail",
            r"\bfail\w{0,3} to schedule\b",
            r"\bfailedscheduling\b",
            r"\bnodes? (?:is|are) available:",
            r"\bhad (?:untolerated )?taints?\b",
            r"\bdisk-?pressure\b",
            r"\bdidn't match .{0,40}(?:affinity|selector)",
            r"\bno space\b(?! left on device)",
            r"资源(?:池)?(?:资源)?不足",
            r"调度.{0,10}失败",
            r"(?:cpu|gpu|npu|vcpu|规格|节点|磁盘|空间).{0,6}不足",
            r"没有可用.{0,10}资源",
            r"无可用.{0,10}资源",
        ),
        "service event table rows 2 and 2b, raw messages with codes 3952 and 3976",
    ),
    FailureRule(
        "storage",
        "",
        (
            _CODE + r"8501\b",
            r"\bdisk (?:is )?full\b",
            r"\bno space left on device\b",
            r"磁盘已?满",
        ),
        "code 8501: the disk of the node was full or broken while the model came from OBS",
        "Free or enlarge the disks of the pool's nodes, then deploy again; the events of the pool tell"
        " whether a disk is broken.",
    ),
    FailureRule(
        "storage",
        "",
        (
            _CODE + r"(?:3551|3567|8502)\b",
            r"\bobs\b",
            r"\bsfs[ -]?turbo\b",
            r"\bmount(?:ing|ed)?\b",
            r"\bfailed(?:mount|attachvolume)\b",
            r"挂载",
            r"对象存储",
        ),
        "codes 3551 (no such OBS path), 3567 (OBS refuses), 8502 (download fails); second generation texts",
    ),
    FailureRule(
        "credentials",
        "",
        (
            _CODE + r"(?:0108|0112|020[1-7]|0212|4127|4201)\b",
            r"\bdew\b",
            r"\btokens? (?:has |have |is )?(?:expired|invalid)",
            r"\binvalid token\b",
            r"\bpermissions?\b",
            r"\b(?:unauthorized|not authorized|access denied|forbidden)\b",
            r"\b(?:ak/sk|access key)\b",
            r"凭据",
            r"权限",
            r"(?:令牌|token).{0,10}(?:过期|失效|无效)",
            r"鉴权失败",
            r"认证失败",
        ),
        "codes of the sign-in family, second generation texts about DEW secrets",
    ),
    FailureRule(
        "out_of_memory",
        "startup",
        (
            r"\bout of memory\b",
            r"\boom(?:[ -]?kill\w{0,3})?\b",
            r"\bmemory (?:overflow|leak)",
            r"\bcannot allocate memory\b",
            r"\bmemory ?error\b",
            r"\bexceed\w{0,3} .{0,20}memory\b",
            r"[内显]存(?:不足|溢出|泄[漏露]|超限)",
        ),
        "troubleshooting pages, words of Linux, CUDA and Kubernetes",
    ),
    FailureRule(
        "crash",
        "startup",
        (
            r"\bcrash",
            r"\bback-?off restarting\b",
            r"\bexit(?:ed)? (?:with )?(?:code|status)\b",
            r"\bexited\b",
            r"\bno module named\b",
            r"\bmodulenotfounderror\b",
            r"\bimporterror\b",
            r"\btraceback\b",
            r"\bsegmentation fault\b",
            r"异常退出",
            r"退出码",
            r"崩溃",
        ),
        "troubleshooting pages, words of Python and Kubernetes",
    ),
    FailureRule(
        "crash",
        "",
        (
            r"不正常的?实例数?",
            r"\b(?:abnormal|unavailable|failed) instances?\b",
            r"\binstances? .{0,20}\babnormal\b",
            r"实例.{0,10}异常",
        ),
        "raw message of a service in alarm: its number of bad instances",
        "The cloud starts lost instances anew. If this lasts, read the log of the container for an error"
        " or a memory leak, and check whether there are too many requests for the number of instances.",
    ),
    FailureRule(
        "node",
        "",
        (
            r"\b(?:nodes?|pools?)\b.{0,80}\b(?:abnormal|unavailable|not ?ready|faulty|offline)\b",
            r"\bnodes?\b.{0,80}\b(?:unreachable|lost|down)\b",
            r"\bnodenotready\b",
            r"(?:节点|资源池).{0,80}(?:异常|不可用|故障|离线|丢失)",
        ),
        "events of resource pools, keywords",
    ),
    FailureRule(
        "timeout",
        "",
        (
            r"\btim(?:ed|e|ing)[ -]?out\b",
            r"\bdeadline exceeded\b",
            r"超时",
            r"时间超过.{0,20}(?:分钟|秒|小时)",
        ),
        "service event table row 26; second generation texts; the limit is 20 minutes unless set",
    ),
    FailureRule(
        "crash",
        "startup",
        (
            r"\bfail\w{0,3} to (?:re)?start\b",
            r"\bstart(?:up|ing)? .{0,20}fail",
            r"\brestart(?:s|ed|ing)?\b",
            r"启动.{0,10}失败",
            r"重启",
        ),
        "service event table row 25, raw message about the container of a pod",
    ),
    # Last of the causes: a rollback is what follows from one of those above.
    FailureRule(
        "rollback",
        "",
        (
            r"\broll(?:ed|ing|s)?[ -]?back\b",
            r"\bfail\w{0,3} to (?:update|upgrade)\b",
            r"\b(?:update|upgrade) .{0,20}fail",
            r"回滚",
            r"(?:更新|升级).{0,20}失败",
        ),
        "service event table rows 8, 27 and 28",
    ),
    # Known to tell of no deployment's cause; only so that they do not count as unclassified.
    FailureRule(
        "other",
        "",
        (
            r"\bfail\w{0,3} to (?:automatically )?(?:stop|delete)\b",
            r"(?:停止|删除).{0,20}失败",
        ),
        "service event table rows 17 and 22; second generation texts",
        "Read the error in the text; stop or delete the service again, for it may go on costing.",
    ),
)
