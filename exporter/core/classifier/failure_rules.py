"""The table of failures that event texts report: data only, in English and Chinese, read from top to bottom.

A rule matches by a pattern, or by words that stand in one clause, in any order: "failed to pull the image",
"the image could not be pulled" and "image pull error" have the same words. Case does not matter. Before a
text is matched, full-width characters are folded to plain ones, names of models and services are taken out,
CamelCase and hyphens become separate words ("ErrImagePull" is "Err Image Pull"), and white space becomes
single spaces. Repetitions are bounded, so that no text can make a search slow.

Most known texts are the vendor's translations; so the rules look for keywords rather than sentences, and a
text that no rule matches is counted as unclassified.
"""

from typing import NamedTuple

from exporter.core.classifier.evidence import Evidence


class FailureRule(NamedTuple):
    """One row: the first that matches gives the reason."""

    reason: str
    phase: str  # of the deployment, where the failure belongs to one
    evidence: Evidence
    source: str  # how we know this
    patterns: tuple[str, ...] = ()  # regular expressions
    clauses: tuple[tuple[str, ...], ...] = ()  # regular expressions that match in one clause, in any order
    remedy: str = ""  # "": that of the reason


# Code numbers count only beside the product's name or the word code: "3976 MB" is no failure code.
_CODE = r"(?:model ?arts|error ?code|错误码)\W{0,5}(?:model ?arts\W{0,3})?"
_FAILED = (
    r"\b(?:fail\w{0,3}|err(?:or)?s?|unable|unsuccessful\w{0,2}|cannot|not|denied|tim(?:ed|e) ?out)\b"
    r"|n't\b|失败|超时|未能|无法|未成功"
)
_ABNORMAL = (
    r"\b(?:abnormal|unavailable|not ready|faulty|offline|unreachable|lost|down)\b"
    r"|异常|不正常|不可用|故障|离线|丢失"
)
_IMAGE = r"\bimages?\b|镜像"

FAILURES = (
    # What was being done names the cause better than how it went wrong: a pull that timed out, or ran
    # out of disk, is a failed pull.
    FailureRule(
        "image_build",
        "image_build",
        Evidence.SPECIFIC,
        "service event table, model event page; a build may take 30 minutes",
        clauses=((r"\b(?:buil|creat)\w{1,4}\b(?! container)|构建|创建|制作", _IMAGE, _FAILED),),
    ),
    # A container says "exited with code"; these words are of the tools that build.
    FailureRule(
        "image_build",
        "image_build",
        Evidence.SPECIFIC,
        "words of Docker, BuildKit and pip",
        patterns=(
            r"\breturned a non zero code\b|\bfailed to solve\b|\bexecutor failed running\b|\bbuild context\b",
            r"\bno matching distribution found\b|\bcould not find a version that satisfies\b",
            rf"\b(?:building (?:\w{{1,20}} ){{0,3}}image|image build) ?: .{{0,200}}(?:{_FAILED})",
            r"(?:构建|制作).{0,6}镜像 ?:.{0,100}(?:失败|错误|非零)",
        ),
        clauses=((r"\bdockerfile\b|\bdocker build\b", _FAILED + r"|\bexited\b|错误"),),
    ),
    FailureRule(
        "image_build",
        "image_build",
        Evidence.SPECIFIC,
        "model event page: what is wrong with the model's own description",
        patterns=(
            r"customize model does not support dependencies|should not contain swr location",
            r"\bis larger than .{0,20} cannot be imported",
            r"不支持指定依赖|不支持指定swr location|(?:模型)?配置文件包含非法参数|大于.{0,20}无法导入",
        ),
        clauses=((r"\binvalid\b", r"\bconfig\.json\b"),),
        remedy="Correct the model's config.json, dependencies (in the Dockerfile of a custom image) or"
        " size; import it again.",
    ),
    FailureRule(
        "image_pull",
        "image_pull",
        Evidence.SPECIFIC,
        "raw message of the Events tab, model event page, words of Kubernetes",
        patterns=(
            r"\bfailed to pull\b|\berr image (?:never )?pull\b|\bimage pull back ?off\b",
            r"\bback ?off pulling image\b|\bpull access denied\b|\binvalid image name\b",
            r"\bmanifest unknown\b",
            # The URLs of a registry: its root, and the parts of an image (OCI Distribution Specification).
            rf"https?://\S{{1,200}}/v2/(?:[^\w/]|\S{{1,200}}/(?:manifests|blobs)/).{{0,100}}(?:x509|\bcertificate\b|{_FAILED})",
            r"拉取.{0,10}(?:失败|超时)",
        ),
        clauses=(
            (r"\b(?:pull|download)\w{0,3}\b|拉取|下载", _IMAGE, _FAILED),
            (r"\bmanifest\b", r"\bnot found\b"),
            (r"\btags?\b|标签", _IMAGE, r"\bnot\b|\b(?:fail\w{0,3}|unable|missing)\b|失败|不存在"),
        ),
    ),
    # Before the health check: a container that was killed or cannot start does not answer it.
    FailureRule(
        "out_of_memory",
        "startup",
        Evidence.SPECIFIC,
        "words of Linux, CUDA, Python and Kubernetes",
        patterns=(
            r"\boom\b|\bout of .{0,10}memory\b|\bmemory (?:overflow|leak)",
            r"\bcannot allocate memory\b|\bmemory ?error\b|\bmemory cgroup\b",
            r"[内显]存.{0,6}(?:溢出|泄[漏露]|超限|[耗用]尽)",
        ),
        clauses=((r"\bmemory\b", r"\bexhaust\w{0,4}\b|\bused up\b"),),
    ),
    FailureRule(
        "crash",
        "startup",
        Evidence.SPECIFIC,
        "troubleshooting pages, words of Python and Linux",
        patterns=(
            r"\bno module named\b|\btraceback\b|\baddress already in use\b",
            r"\b(?:import|syntax|attribute|type|value|key|runtime|assertion) ?error\b",
            r"\b(?:module|file) ?not ?found ?error\b|\bexec format error\b",
        ),
        clauses=((r"\bmodule\b", r"\bnot found\b"),),
    ),
    FailureRule(
        "health_check",
        "startup",
        Evidence.SPECIFIC,
        "model event page: what is wrong with the model's own description",
        patterns=(r"\bhealth ?check url .{0,60}must be\b", r"健康检查接口必须"),
    ),
    FailureRule(
        "health_check",
        "startup",
        Evidence.SYMPTOM,
        "troubleshooting pages, model event page, words of Kubernetes",
        patterns=(
            r"\bhealth ?(?:check|probe)|\b(?:readiness|liveness)\b|\bstartup ?probe\b",
            r"\bunhealthy\b",
            r"健康检查|(?:就绪|存活)探针",
        ),
        clauses=((r"\bcheck\w{0,3}\b", r"\bhealth\b"),),
    ),
    FailureRule(
        "billing",
        "",
        Evidence.SPECIFIC,
        "error codes 4116 (arrears) and 4118 (suspended), keywords",
        patterns=(
            _CODE + r"411[68]\b",
            r"\barrear|\b(?:is|are|was|in) owed\b|\b(?:overdue|unpaid)\b",
            r"\baccount .{0,40}(?:suspended|frozen|restricted)|\blicen[cs]e .{0,128}expire",
            r"欠费|余额不足|账[户号].{0,20}(?:冻结|受限|暂停)|(?:许可证|license|订阅|套餐|资源包).{0,128}(?:到期|过期)",
        ),
        clauses=((r"\b(?:balance|funds?)\b", r"\b(?:insufficient|not enough)\b"),),
    ),
    FailureRule(
        "quota",
        "",
        Evidence.SPECIFIC,
        "service event table row 16; codes 3520 to 3522 (services, running, instances), 4860, 4861",
        patterns=(_CODE + r"(?:352[0-2]|486[01]|0116)\b", r"\bquotas?\b", r"配额"),
    ),
    # Before the quota: these limits are those of the container itself.
    FailureRule(
        "out_of_memory",
        "startup",
        Evidence.SPECIFIC,
        "troubleshooting pages, words of Kubernetes",
        clauses=(
            (r"\bmemory\b", r"\bexceed\w{0,3}\b"),
            (r"\bmemory\b", r"\blimits?\b", r"\b(?:reach|over)\w{0,3}\b"),
            (r"[内显]存", r"限制|上限|限额", r"超|达"),
        ),
    ),
    FailureRule(
        "storage",
        "",
        Evidence.SPECIFIC,
        "words of Kubernetes: the node had no disk left for what its containers write, so it evicted one; the"
        " remedy is that of a full disk, and more instances or another specification would not help",
        patterns=(
            r"\blow on (?:resource\b.{0,10}\b)?(?:ephemeral|inodes?|nodefs|imagefs)",
            r"驱逐.{0,20}(?:临时存储|磁盘)",
        ),
        clauses=(
            (
                r"\bephemeral\b|\bempty ?dir\b|临时存储",
                r"\b(?:exceed|evict)\w{0,3}\b|超|驱逐",
            ),
        ),
        remedy="Have the container write less to its own disk, or free or enlarge the disks of the pool's"
        " nodes; then deploy again.",
    ),
    FailureRule(
        "quota",
        "",
        Evidence.SPECIFIC,
        "service event table row 16, keywords",
        clauses=((r"(?<!time )\blimit\b|上限", r"\b(?:exceed|reach)\w{0,3}\b|超|达"),),
    ),
    # Before memory: "insufficient memory" is the scheduler's word for a full node.
    FailureRule(
        "insufficient_resources",
        "scheduling",
        Evidence.SPECIFIC,
        "service event table rows 2 and 2b, raw messages with codes 3952 and 3976",
        patterns=(
            _CODE + r"(?:3952|3976)\b",
            r"\binsufficient\b(?! (?:permission|privilege|right|access))",
            r"\bnodes? (?:is |are )?available\b|\bhad (?:untolerated )?taints?\b",
            r"\bdisk pressure\b|\bdidn't match .{0,40}(?:affinity|selector)",
            r"\bno space\b(?! left)",
            r"资源.{0,6}不[足够]|(?:cpu|gpu|npu|规格|节点|磁盘|空间).{0,6}不足|(?:没有|无)可用.{0,10}资源",
        ),
        clauses=(
            (r"\bschedul\w{0,4}\b|调度", _FAILED),
            (
                r"\b(?:not (?:enough|sufficient|available)|too few|unavailable|sold out)\b|\bno\b(?! space)",
                r"\b(?:resources?|cpus?|gpus?|npus?|memory|capacity|specification|flavou?r)\b",
            ),
        ),
    ),
    FailureRule(
        "storage",
        "",
        Evidence.SPECIFIC,
        "code 8501: the disk of the node was full or broken while the model came from OBS",
        patterns=(_CODE + r"8501\b", r"\bdisk (?:is )?full\b", r"\bno space left\b", r"磁盘已?满"),
        remedy="Free or enlarge the disks of the pool's nodes, then deploy again; the events of the"
        " pool tell whether a disk is broken.",
    ),
    FailureRule(
        "storage",
        "",
        Evidence.SPECIFIC,
        "codes 3551 (no such OBS path), 3567 (OBS refuses), 8502 (download fails); second generation texts",
        patterns=(
            _CODE + r"(?:3551|3567|8502)\b",
            r"\bobs\b|\bsfs ?turbo\b|\bbucket\b|\bmount(?:ing|ed)?\b",
            r"\bfailed (?:mount|attach volume)\b|挂载|对象存储",
        ),
    ),
    FailureRule(
        "credentials",
        "",
        Evidence.SPECIFIC,
        "codes of the sign-in family, second generation texts about DEW secrets",
        patterns=(
            _CODE + r"(?:0108|0112|020[1-7]|0212|4127|4201)\b",
            r"\bdew\b|\bpermissions?\b",
            r"\b(?:unauthorized|not authorized|access denied|forbidden)\b",
            r"\b(?:ak/sk|access key)\b",
            r"凭据|权限|鉴权失败|认证失败",
        ),
        clauses=((r"\btokens?\b|令牌", r"\b(?:expired|invalid|no longer valid)\b|过期|失效|无效"),),
    ),
    # A certificate that failed while an image was pulled is a failed pull, and that rule comes first.
    FailureRule(
        "credentials",
        "",
        Evidence.SPECIFIC,
        "words of Go and OpenSSL about certificates",
        patterns=(r"\bx509\b|\bcertificate.verify.failed\b",),
        clauses=(
            (
                r"\bcertificates?\b|证书",
                _FAILED + r"|\b(?:expired|invalid|untrusted|unknown|bad)\b|过期|失效|无效|不",
            ),
        ),
        remedy="Renew the certificate of the server that the text names, or add its authority to those that"
        " the image trusts.",
    ),
    FailureRule(
        "out_of_memory", "startup", Evidence.SPECIFIC, "troubleshooting pages", patterns=(r"[内显]存不足",)
    ),
    FailureRule(
        "crash",
        "startup",
        Evidence.EXIT,
        "words of Kubernetes",
        clauses=((r"\bcreate\w{0,1} container\b|\bcontainer\b.{0,20}\bcreated\b", _FAILED),),
        remedy="Check what the container is made from: its start command, environment, and the secrets"
        " and volumes that it names.",
    ),
    FailureRule(
        "crash",
        "startup",
        Evidence.EXIT,
        "troubleshooting pages, words of Linux and Kubernetes",
        patterns=(
            r"\bexit(?:ed)? ?(?:with )?(?:code|status)\b|\bexited\b",
            r"\bterminated\b.{0,20}\b(?:code|status)\b|\bsegmentation fault\b",
            r"\bsig(?:segv|abrt|bus|kill|ill)\b|\bby signal\b",
            r"异常退出|退出码",
        ),
        clauses=(
            (
                r"\b(?:containers?|process|pods?)\b|容器|进程",
                r"\b(?:terminat|stop|end|quit|exit)\w{0,4}\b|终止|中止|退出",
                r"\b(?:unexpected|abnormal)\w{0,2}\b|意外|异常",
            ),
            (r"\b(?:containers?|process|pods?)\b|容器|进程", r"\b(?:died|killed)\b|杀死"),
        ),
    ),
    FailureRule(
        "crash",
        "startup",
        Evidence.SYMPTOM,
        "words of Kubernetes",
        patterns=(r"\bcrash", r"\bback ?off .{0,10}restarting\b|\bsandbox changed\b", r"崩溃"),
    ),
    FailureRule(
        "crash",
        "",
        Evidence.SUMMARY,
        "raw message of a service in alarm: its number of bad instances",
        patterns=(r"不正常的?实例数?",),
        clauses=((r"\binstances?\b|实例", _ABNORMAL + r"|\bfailed\b"),),
        remedy="The cloud starts lost instances anew. If this lasts, read the log of the container for an"
        " error or a memory leak, and check whether there are too many requests for the number of instances.",
    ),
    FailureRule(
        "node",
        "",
        Evidence.SPECIFIC,
        "events of resource pools, keywords",
        patterns=(r"\b(?:node|pool) status\b.{0,80}\babnormal\b",),
        clauses=((r"\b(?:nodes?|pools?)\b|节点|资源池", _ABNORMAL),),
    ),
    # After the node: an eviction is what follows when that is lost.
    FailureRule(
        "insufficient_resources",
        "",
        Evidence.SPECIFIC,
        "words of Kubernetes: a node that is short of memory evicts, one that others need more preempts",
        patterns=(r"\bevict(?:ed|ion)\b|\bpreempt(?:ed|ion)\b|\blow on resource\b|驱逐|抢占",),
    ),
    FailureRule(
        "timeout",
        "",
        Evidence.SUMMARY,
        "service event table row 26; second generation texts; the limit is 20 minutes unless set",
        patterns=(
            r"\btim(?:ed|e|ing) ?out\b|\bdeadline exceeded\b|\btime limit\b",
            r"\bnot .{0,30}\b(?:in time|within .{0,20}(?:seconds?|minutes?|hours?|time))\b",
            r"超时|时间超过.{0,20}(?:分钟|秒|小时)|未能?在.{0,10}(?:时间|分钟|小时|秒)内|时间内.{0,4}(?:未|没有)",
        ),
        clauses=((r"\bdeadline\b", r"\b(?:exceeded|longer|passed|missed|reached)\b"),),
    ),
    FailureRule(
        "crash",
        "startup",
        Evidence.SYMPTOM,
        "raw message about the container of a pod",
        patterns=(r"\brestart(?:s|ed|ing)?\b", r"重启"),
    ),
    FailureRule(
        "crash",
        "startup",
        Evidence.SUMMARY,
        "service event table row 25",
        clauses=((r"\b(?:start\w{0,3}|come) ?(?:up)?\b|启动", _FAILED),),
    ),
    # Last of the reasons: a rollback is what follows from one of those above.
    FailureRule(
        "rollback",
        "",
        Evidence.SUMMARY,
        "service event table rows 8, 27 and 28",
        patterns=(r"\broll(?:ed|ing|s)? ?back\b", r"回滚"),
        clauses=((r"\b(?:updat|upgrad)\w{1,3}\b|更新|升级", _FAILED),),
    ),
    # These explain no failed deployment; they are here so that they do not count as unclassified.
    FailureRule(
        "other",
        "",
        Evidence.NONE,
        "service event table rows 17 and 22; second generation texts",
        clauses=((r"\b(?:stop|delet)\w{0,4}\b|停止|删除", _FAILED),),
        remedy="Read the error in the text; stop or delete the service again, for it may go on costing.",
    ),
)
