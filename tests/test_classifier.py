"""What an event text means: every text that is publicly known, and the names that must not mislead."""

# ruff: noqa: RUF001 - Chinese texts have Chinese punctuation

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.classifier.classifier import Classification, Classifier, CustomRule
from exporter.core.classifier.evidence import Evidence
from exporter.core.classifier.failure_rules import FAILURES
from exporter.core.classifier.remedies import REASONS, REMEDIES
from exporter.core.classifier.step_rules import PHASES

BUILT_IN = Classifier()

VARIANTS = yaml.safe_load((Path(__file__).parent / "data" / "event_variants.yml").read_text(encoding="utf-8"))

# text, reason; all typed abnormal. The rows are those of the vendor's table of service events.
ABNORMAL = {
    # messages as they stand on the Events tab
    "failed to pull image, retry later": "image_pull",
    "Schedule failed due to insufficient resources. Retry later.": "insufficient_resources",
    "ModelArts.3976: No resources are available for the selected specification.": "insufficient_resources",
    "No resources are available for the selected specification. (insufficient CPU)": "insufficient_resources",
    "0/3 nodes are available: 3 Insufficient memory.": "insufficient_resources",
    "2 node(s) had taint {node.kubernetes.io/disk-pressure: }, that the pod didn't tolerate": (
        "insufficient_resources"
    ),
    "ModelArts.3976: No space": "insufficient_resources",
    "Failed to start the pod container in deployment [demo].": "crash",
    "服务异常，不正常的实例数为2": "crash",
    # rows 2 to 8
    "Insufficient resources. Wait until idle resources are sufficient.": "insufficient_resources",
    "Insufficient cpu. The scheduling failed. Supplementary information: 0/8 nodes": "insufficient_resources",
    "Insufficient memory. The scheduling failed. Supplementary information: x": "insufficient_resources",
    "Failed to create model image mnist. For details, see logs :\nTimeout was reached": "image_build",
    "Failed to create the image.": "image_build",
    "Service mnist failed. Error: health check failed": "health_check",
    "Service mnist failed. Error: no one knows": "other",
    "Failed to update the service. Perform a rollback.": "rollback",
    # rows 16, 17, 20, 22
    "The service is stopped because the quota exceeds the upper limit.": "quota",
    "Failed to automatically stop the service. Error: internal": "other",
    "The batch service failed. Try again later. Error: OBS path /b/in does not exist": "storage",
    "Failed to stop the service. Error: internal": "other",
    # rows 25, 26, 28
    "Failed to start service mnist.": "crash",
    "Service deployment timed out. Error: internal": "timeout",
    "Failed to update the service. The rollback failed.": "rollback",
    # the same in Chinese
    "资源不足，请等待资源空闲": "insufficient_resources",
    "CPU不足，调度失败。补充信息：无": "insufficient_resources",
    "内存不足，调度失败": "insufficient_resources",
    "创建模型镜像失败，详情请查看日志": "image_build",
    "构建镜像失败。": "image_build",
    "服务mnist运行失败，错误信息：容器健康检查失败": "health_check",
    "更新服务失败，执行回滚": "rollback",
    "因配额超过上限，服务已停止": "quota",
    "自动停止服务失败，错误信息：内部错误": "other",
    "停止服务失败，错误信息：内部错误": "other",
    "启动服务mnist失败": "crash",
    "服务部署超时，错误信息：内部错误": "timeout",
    "更新服务失败，回滚失败": "rollback",
    "拉取镜像失败": "image_pull",
    "镜像拉取超时": "image_pull",
    # the model events of the same platform
    "Failed to build the image.": "image_build",
    "Model image build task timed out": "image_build",
    "Customize model does not support dependencies.": "image_build",
    "自定义镜像不支持指定依赖。": "image_build",
    "Non-custom type models should not contain swr_location.": "image_build",
    "非自定义镜像不支持指定swr_location字段。": "image_build",
    "The health check url of custom image model must be /health.": "health_check",
    "自定义镜像健康检查接口必须是/health。": "health_check",
    "Image swr/a does not have the 1.0 tag.": "image_pull",
    "镜像swr/a不存在名为1.0的标签。": "image_pull",
    "Invalid runtime in config.json.": "image_build",
    "模型配置文件包含非法参数值：runtime。": "image_build",
    "Failed to obtain the tag list of image swr/a.": "image_pull",
    "获取镜像swr/a的标签列表失败。": "image_pull",
    "model [big] is larger than 50G and cannot be imported.": "image_build",
    "模型大于50G，无法导入。": "image_build",
    "User bob does not have obs:object:PutObjectAcl permission": "storage",
    # the second generation of the service
    "服务部署超时，错误信息：服务部署时间超过20分钟，设置为失败": "timeout",
    "部署【timeout】创建失败，部署时间超过20分钟": "timeout",
    "服务部署失败，资源池资源不足": "insufficient_resources",
    "服务部署失败，没有人知道": "other",
    "服务删除失败，当前状态：FAILED，内部错误": "other",
    "批量服务删除失败，内部错误": "other",
    "部署【demo】创建失败，DEW凭据不存在": "credentials",
    "DEW凭据中未解析到AK/SK或者解析到的AK/SK不可用": "credentials",
    "部署【demo】创建失败，sfs turbo 不可用": "storage",
    "升级回滚失败": "rollback",
    "部署【demo】的Pod容器启动失败。": "crash",
    "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.": "insufficient_resources",
    # code numbers
    "ModelArts.3952: try later": "insufficient_resources",
    '{"error_code": "ModelArts.3976", "error_msg": ""}': "insufficient_resources",
    "error code: 3952": "insufficient_resources",
    "ModelArts.3520": "quota",
    "ModelArts.3521": "quota",
    "错误码：ModelArts.3522": "quota",
    "ModelArts.4860": "quota",
    "ModelArts.4861": "quota",
    "ModelArts.4116": "billing",
    "ModelArts.4118": "billing",
    "ModelArts.3551: path": "storage",
    "ModelArts.3567": "storage",
    "ModelArts.8501: A system-related error occurred": "storage",
    "ModelArts.8502": "storage",
    "ModelArts.0203": "credentials",
    # words of the new rules that must not hide others
    "The service is stopped unexpectedly": "other",
    "certificate of service shop was renewed": "other",
    "license certificate expired": "billing",
    "node was lost, pod evicted": "node",
    "exceeded quota: compute-resources, requested: limits.memory=8Gi": "quota",
    "The number of services has reached the limit": "quota",
    "The storage limit is reached": "quota",
    "it took 3976 ms to no avail": "other",
    # keywords
    "Error response: ErrImagePull": "image_pull",
    'Back-off pulling image "swr/a:1"': "image_pull",
    "ImagePullBackOff": "image_pull",
    "Readiness probe failed: HTTP probe failed with statuscode: 500": "health_check",
    "Liveness probe failed: timed out, container will be restarted": "health_check",
    "Startup probe failed": "health_check",
    "pod is Unhealthy": "health_check",
    "Back-off restarting failed container": "crash",
    "CrashLoopBackOff": "crash",
    "container exited with exit code 1": "crash",
    "No module named 'torch'": "crash",
    "ModuleNotFoundError": "crash",
    "容器重启": "crash",
    "Container was OOMKilled": "out_of_memory",
    "CUDA out of memory": "out_of_memory",
    "memory overflow": "out_of_memory",
    "内存不足": "out_of_memory",
    "业务内存溢出": "out_of_memory",
    "显存不足": "out_of_memory",
    "request timeout": "timeout",
    "请求超时": "timeout",
    "超出配额": "quota",
    "exceeded the upper limit": "quota",
    "The account is in arrears": "billing",
    "your account has been suspended": "billing",
    "The subscription license abc is to expire.": "billing",
    "账户欠费": "billing",
    "订阅即将到期": "billing",
    "failed to mount volume": "storage",
    "挂载失败": "storage",
    "OBS路径不存在": "storage",
    "no space left on device": "storage",
    "token has expired": "credentials",
    "You do not have permission": "credentials",
    "insufficient permissions": "credentials",
    "无权限": "credentials",
    "已回滚": "rollback",
    "更新失败": "rollback",
    "node 10.0.0.1 is abnormal": "node",
    "Pool status changed, from Running to Abnormal, details: .": "node",
    "资源池异常": "node",
    "节点故障": "node",
    # specific before general
    "Failed to pull image swr/a: request timed out": "image_pull",
    "Failed to pull image: no space left on device": "image_pull",
    "Failed to start the container: out of memory, exit code 137": "out_of_memory",
    "Failed to update the service: out of memory. Perform a rollback.": "out_of_memory",
    "Service deployment timed out. Error: No module named 'cv2'": "crash",
    "Failed to start service mnist: timed out": "timeout",
    # spelling
    "FAILED TO PULL IMAGE, RETRY LATER": "image_pull",
    "failed\r\n to\u00a0pull   image": "image_pull",
    "ＯＢＳ　ｐａｔｈ（ａ）": "storage",
    "服务部署超时：内部错误！": "timeout",
}

# The vendor's normal rows; none of them is a failure, and only some are steps.
NORMAL = {
    "start to deploy service": ("", "begin"),
    "building image for model [zcjtestTF 3.0.0]": ("image_build", "start"),
    "model (zcjtestTF 3.0.0) build image success": ("image_build", "end"),
    "preparing environment": ("environment", "start"),
    "[zcjtestTF 3.0.0] prepare environment success": ("environment", "end"),
    "[zcjtestTF 3.0.0] schedule resource success": ("scheduling", "end"),
    "[zcjtestTF 3.0.0] pulling model image": ("image_pull", "start"),
    "[zcjtestTF 3.0.0] pull image success": ("image_pull", "end"),
    "[zcjtestTF 3.0.0] starting model": ("startup", "start"),
    # rows 1, 3, 6, 9 to 15, 18, 19, 21, 23, 24
    "The service starts to deploy.": ("", "begin"),
    "The image starts to create.": ("image_build", "start"),
    "The image created.": ("image_build", "end"),
    "The service is being updated.": ("", "begin"),
    "The service is being started.": ("", "begin"),
    "The service is being stopped.": ("", ""),
    "The service has been stopped.": ("", ""),
    "Auto stop has been disabled.": ("", ""),
    "Auto stop has been enabled. The service will stop after 3600s.": ("", ""),
    "The service stops when the auto stop time expires.": ("", ""),
    "Service instances deleted from resource pool p.": ("", ""),
    "Service instances stopped in resource pool p.": ("", ""),
    "The service has been executed.": ("", ""),
    "The subscription license abc is to expire.": ("", ""),
    "Service mnist started.": ("startup", "end"),
    # in Chinese
    "开始部署服务": ("", "begin"),
    "服务开始部署。": ("", "begin"),
    "服务更新中": ("", "begin"),
    "服务正在启动中。": ("", "begin"),
    "正在更新服务": ("", "begin"),
    "开始为模型【a 1.0.0】构建镜像": ("image_build", "start"),
    "镜像开始创建": ("image_build", "start"),
    "模型（a 1.0.0）构建镜像成功": ("image_build", "end"),
    "镜像已创建": ("image_build", "end"),
    "正在准备环境": ("environment", "start"),
    "【a 1.0.0】准备环境成功": ("environment", "end"),
    "[a 1.0.0] 调度资源成功": ("scheduling", "end"),
    "[a 1.0.0] 正在拉取模型镜像": ("image_pull", "start"),
    "[a 1.0.0] 拉取镜像成功": ("image_pull", "end"),
    "[a 1.0.0] 正在启动模型": ("startup", "start"),
    "服务mnist已启动。": ("startup", "end"),
    "服务“失败测试”启动成功": ("startup", "end"),
    "服务停止中": ("", ""),
    "服务已停止": ("", ""),
    # the second generation, and model events
    "Service is being deployed.": ("", "begin"),
    "服务部署中。": ("", "begin"),
    "Start model import.": ("", ""),
    "The status of the image building task is %s.": ("", ""),
    # names that sound like trouble
    "building image for model [timeout-detector 0.0.1]": ("image_build", "start"),
    "model (oom-net 0.0.1) build image success": ("image_build", "end"),
    "[crash-restart 10.2.33] starting model": ("startup", "start"),
    "Service restart-failed-rollback started.": ("startup", "end"),
    "Service oom started.": ("startup", "end"),
    "pull model image success": ("image_pull", "end"),
    "服务失败检测已启动": ("startup", "end"),
    "The service failed-rollback is quiet": ("", ""),
    # a step is a whole text, not a part of one
    "preparing environment for something else": ("", ""),
    "": ("", ""),
}

NORMAL_FAILURES = {
    "Failed to update the service. The update has been rolled back.": "rollback",
    "更新服务失败，更新已回滚。": "rollback",
    "服务更新失败，已回滚": "rollback",
    "[oom-net 0.0.1] failed to pull image": "image_pull",
    "preparing environment failed to finish": "other",
    "服务启动失败": "crash",
}


@pytest.mark.parametrize(("text", "reason"), ABNORMAL.items())
def test_every_known_abnormal_text_has_its_reason(text: str, reason: str) -> None:
    finding = BUILT_IN.classify("abnormal", text)
    assert finding.reason == reason
    assert finding.mark == ""
    assert finding.remedy


@pytest.mark.parametrize(("text", "step"), NORMAL.items())
def test_every_known_normal_text_is_its_step_and_no_failure(text: str, step: tuple[str, str]) -> None:
    finding = BUILT_IN.classify("normal", text)
    assert (finding.phase, finding.mark) == step
    assert finding.reason == ""
    assert finding.classified


@pytest.mark.parametrize(("text", "reason"), NORMAL_FAILURES.items())
def test_a_normal_typed_text_that_tells_of_a_failure_is_one(text: str, reason: str) -> None:
    finding = BUILT_IN.classify("normal", text)
    assert finding.reason == reason
    assert finding.mark == ""


def variants(event_type: str, key: str) -> list[tuple[str, Any]]:
    """Each documented text and each other way to write it, with what it means."""
    return [(text, row[key]) for row in VARIANTS[event_type] for text in (row["text"], *row["variants"])]


@pytest.mark.parametrize(("text", "reason"), variants("abnormal", "reason"))
def test_a_failure_is_known_by_its_words_in_any_order_and_spelling(text: str, reason: str) -> None:
    finding = BUILT_IN.classify("abnormal", text)
    assert (finding.reason, finding.classified) == (reason, True)


@pytest.mark.parametrize(("text", "step"), variants("normal", "step"))
def test_a_step_is_known_in_every_spelling(text: str, step: list[str]) -> None:
    finding = BUILT_IN.classify("normal", text)
    assert ([finding.phase, finding.mark], finding.reason) == (step, "")


def test_every_documented_text_has_at_least_three_variants() -> None:
    assert all(len(set(row["variants"])) >= 3 for rows in VARIANTS.values() for row in rows)


# What the text proves, whatever its reason is called.
EVIDENCE = {
    "[m 1.0.0] container was killed: out of memory, exit code 137. Restart it.": Evidence.SPECIFIC,
    "container exited, exit code 1: ModuleNotFoundError: No module named 'cv2'": Evidence.SPECIFIC,
    "health check failed: container was killed: out of memory": Evidence.SPECIFIC,
    "failed to pull image, retry later": Evidence.SPECIFIC,
    "The service is stopped because the account is in arrears.": Evidence.SPECIFIC,
    "x509: certificate has expired": Evidence.SPECIFIC,
    "Evicted: The node was low on resource: ephemeral-storage": Evidence.SPECIFIC,
    "container exited, exit code 1": Evidence.EXIT,
    "container terminated unexpectedly": Evidence.EXIT,
    "CreateContainerConfigError": Evidence.EXIT,
    "health check failed: GET /health answered 503": Evidence.SYMPTOM,
    "CrashLoopBackOff": Evidence.SYMPTOM,
    "容器重启": Evidence.SYMPTOM,
    "Failed to start service mnist.": Evidence.SUMMARY,
    "The service is abnormal. Number of abnormal instances: 1": Evidence.SUMMARY,
    "Service deployment timed out. Error: internal": Evidence.SUMMARY,
    "Failed to update the service. The rollback failed.": Evidence.SUMMARY,
    "Failed to stop the service. Error: internal": Evidence.NONE,
    "Service mnist failed. Error: no one knows": Evidence.NONE,
}


@pytest.mark.parametrize(("text", "evidence"), EVIDENCE.items())
def test_what_a_text_proves_is_judged_by_what_it_says(text: str, evidence: Evidence) -> None:
    assert BUILT_IN.classify("abnormal", text).evidence is evidence


@pytest.mark.parametrize("text", ["Service a failed. Error: no one knows", "", "[oom-net 0.0.1] \ud800"])
def test_an_abnormal_text_that_no_rule_knows_is_other_and_unclassified(text: str) -> None:
    finding = BUILT_IN.classify("abnormal", text)
    assert (finding.reason, finding.classified) == ("other", False)
    assert finding.remedy == REMEDIES["other"]


def test_a_known_text_without_a_cause_is_other_but_classified() -> None:
    finding = BUILT_IN.classify("abnormal", "Failed to stop the service. Error: internal")
    assert (finding.reason, finding.classified) == ("other", True)


@pytest.mark.parametrize("event_type", ["", "NORMAL", "warning", "Abnormal"])
def test_an_event_of_an_unknown_type_tells_nothing(event_type: str) -> None:
    assert BUILT_IN.classify(event_type, "failed to pull image") == Classification()


@pytest.mark.parametrize(
    "text",
    [
        "[timeout-detector 0.0.1] broke",
        "model (oom quota 2.0.0) broke",
        "Service oom-net failed. Error: broke",
        "deployment [health-check] broke",
        "部署【超时】异常了",
        "服务“配额” broke",
    ],
)
def test_the_name_of_a_model_or_service_is_no_cause(text: str) -> None:
    assert not BUILT_IN.classify("abnormal", text).classified


def test_a_failure_belongs_to_its_phase() -> None:
    phases = {
        text: BUILT_IN.classify("abnormal", text).phase
        for text in ("failed to build the image", "insufficient cpu", "ErrImagePull", "crash", "quota")
    }
    assert list(phases.values()) == ["image_build", "scheduling", "image_pull", "startup", ""]


def test_a_rule_of_the_user_comes_first() -> None:
    classifier = Classifier(
        [
            CustomRule("gpu_driver", "nvidia.*driver", "Reboot the node pool."),
            CustomRule("billing", "insufficient resources"),
        ]
    )
    assert classifier.classify("abnormal", "failed to pull: NVIDIA old Driver") == Classification(
        reason="gpu_driver", remedy="Reboot the node pool.", evidence=Evidence.SPECIFIC
    )
    assert classifier.classify("abnormal", "Insufficient resources.").remedy == REMEDIES["billing"]
    assert classifier.classify("abnormal", "Insufficient cpu").reason == "insufficient_resources"


def test_a_rule_of_the_user_sees_names_but_makes_no_failure_of_a_normal_event() -> None:
    classifier = Classifier([CustomRule("mine", "oom-net")])
    assert classifier.classify("abnormal", "[oom-net 0.0.1] broke").reason == "mine"
    assert classifier.classify("normal", "[oom-net 0.0.1] failed to start").reason == "mine"
    assert classifier.classify("normal", "[oom-net 0.0.1] starting model").reason == ""


def test_a_pattern_that_is_none_is_an_error_at_once() -> None:
    with pytest.raises(re.error):
        Classifier([CustomRule("mine", "(")])


def test_every_rule_has_a_known_reason_and_phase_and_every_reason_a_remedy() -> None:
    assert {known.reason for known in FAILURES} == set(REASONS)
    assert {known.phase for known in FAILURES} <= {"", *PHASES}
    assert tuple(REMEDIES) == REASONS
    assert len(REASONS) == 14


def test_a_cause_far_behind_the_head_of_a_text_is_not_looked_for() -> None:
    assert BUILT_IN.classify("abnormal", "x " * 2045 + "quota").reason == "quota"
    assert BUILT_IN.classify("abnormal", "x " * 2048 + "quota").reason == "other"
    # One character that folds to eighteen makes no longer text of it.
    assert BUILT_IN.classify("abnormal", "\ufdfa" * 4000 + " quota").reason == "other"


@pytest.mark.parametrize(
    "text",
    [
        "image " * 100_000,
        "[a " * 100_000,
        "node pool " * 100_000,
        "镜像" * 100_000,
        "service a " * 100_000,
        "model (" * 100_000,
        "failed " * 100_000,
        "model image " * 100_000,
        "\ufdfa" * 100_000,
        "invalid exceed license account " * 10_000,
        "[" + "1." * 100_000,
        " " * 1_000_000,
        "a, image " * 100_000,
        ". " * 100_000,
        "a-" * 100_000,
    ],
)
def test_no_text_holds_up_the_classifier(text: str) -> None:
    # The worst of these takes milliseconds; a search that explodes would run into the timeout of the suite.
    assert BUILT_IN.classify("abnormal", text).reason


@given(st.sampled_from(["normal", "abnormal"]), st.text())
def test_any_text_has_a_finding_of_a_known_kind(event_type: str, text: str) -> None:
    finding = BUILT_IN.classify(event_type, text)
    assert finding.reason in {"", *REASONS}
    assert finding.phase in {"", *PHASES}
    assert bool(finding.remedy) == bool(finding.reason)
    assert event_type == "normal" or finding.reason
