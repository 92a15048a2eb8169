"""The manifests for Kubernetes: fields that KubeRay 1.6 has, the environment that the gateway asks for, secrets by name alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from raygen.config.files import validate
from raygen.serve.cluster.environment import VARIABLES
from raygen.serve.config import ServiceConfig
from tests.serve.cluster.test_serve_configs import understood

FOLDER = Path(__file__).parents[3] / "deploy" / "kuberay"

# Of KubeRay's own definitions of ray.io/v1, what may stand there.
CLUSTER = {
    "rayVersion", "authOptions", "gcsFaultToleranceOptions", "enableInTreeAutoscaling", "autoscalerOptions",
    "headGroupSpec", "workerGroupSpecs", "headServiceAnnotations", "suspend", "managedBy", "upgradeStrategy",
}  # fmt: skip
FIELDS: dict[str, set[str]] = {
    "spec:RayService": {
        "serveConfigV2", "rayClusterConfig", "serveService", "upgradeStrategy", "excludeHeadPodFromServeSvc",
        "rayClusterDeletionDelaySeconds", "suspend",
    },
    "spec:RayJob": {
        "entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec",
        "activeDeadlineSeconds", "clusterSelector", "metadata", "runtimeEnvYAML", "submitterPodTemplate", "submitterConfig",
        "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "suspend", "managedBy", "deletionStrategy",
    },
    "spec:RayCluster": CLUSTER,
    "rayClusterConfig": CLUSTER,
    "rayClusterSpec": CLUSTER,
    "authOptions": {"mode", "secretName", "enableK8sTokenAuth"},
    "gcsFaultToleranceOptions": {"redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace"},
    "redisPassword": {"value", "valueFrom"},
    "autoscalerOptions": {
        "idleTimeoutSeconds", "upscalingMode", "resources", "image", "imagePullPolicy", "env", "envFrom", "volumeMounts",
        "securityContext", "version",
    },
    "headGroupSpec": {
        "rayStartParams", "template", "serviceType", "headService", "enableIngress", "resources", "labels",
    },
    "workerGroupSpecs": {
        "groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template", "scaleStrategy",
        "idleTimeoutSeconds", "suspend", "resources", "labels",
    },
}  # fmt: skip


def documents() -> Iterator[tuple[str, Any]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield path.name, document


def of_kind(kind: str) -> Any:
    [found] = [document for _, document in documents() if document["kind"] == kind]
    return found


def unknown(value: Any, where: str) -> list[str]:
    """Return fields of KubeRay's own kinds that it does not have. What is in pod templates is Kubernetes' affair."""
    if isinstance(value, list):
        return [line for each in value for line in unknown(each, where)]
    if not isinstance(value, dict) or where == "template":
        return []
    strange = [f"{where}.{key}" for key in value if where in FIELDS and key not in FIELDS[where]]
    return strange + [line for key, inner in value.items() for line in unknown(inner, key)]


@pytest.mark.parametrize("kind", ["RayService", "RayCluster", "RayJob"])
def test_kuberay_has_every_field(kind: str) -> None:
    document = of_kind(kind)
    assert document["apiVersion"] == "ray.io/v1"
    assert unknown(document["spec"], f"spec:{kind}") == []


def test_a_field_that_kuberay_does_not_have_is_found() -> None:
    document = of_kind("RayService")
    document["spec"]["rayClusterConfig"]["headGroupSpec"]["raystartparams"] = {}
    assert unknown(document["spec"], "spec:RayService") == ["headGroupSpec.raystartparams"]


def clusters() -> Iterator[tuple[str, Any]]:
    yield "RayService", of_kind("RayService")["spec"]["rayClusterConfig"]
    yield "RayCluster", of_kind("RayCluster")["spec"]
    yield "RayJob", of_kind("RayJob")["spec"]["rayClusterSpec"]


def templates(cluster: Any) -> list[Any]:
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


@pytest.mark.parametrize(("kind", "cluster"), list(clusters()), ids=[kind for kind, _ in clusters()])
def test_every_node_has_the_environment_that_the_gateway_asks_for(kind: str, cluster: Any) -> None:
    wanted = {"RAY_AUTH_MODE": "token"} if kind == "RayJob" else VARIABLES
    for template in templates(cluster):
        [container] = template["spec"]["containers"]
        assert {each["name"]: each["value"] for each in container["env"]} == wanted
        assert container["envFrom"] == [{"secretRef": {"name": "raygen-store"}}]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "raygen-token"}


def test_the_inner_file_is_what_serve_understands_and_a_service() -> None:
    given = yaml.safe_load(of_kind("RayService")["spec"]["serveConfigV2"])
    assert understood(given, ServeDeploySchema.model_validate(given).model_dump(mode="json"), "file") == []
    config = validate(given["applications"][0]["args"], ServiceConfig, "args")
    assert config.keys.required  # since it listens on all of a pod's interfaces
    longest_s = config.gateway.longest_answer_s
    assert given["http_options"]["request_timeout_s"] == longest_s
    for template in templates(of_kind("RayService")["spec"]["rayClusterConfig"]):
        assert template["spec"]["terminationGracePeriodSeconds"] > longest_s


def test_the_network_lets_everybody_reach_one_port_alone() -> None:
    policy = of_kind("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    everybody = [rule for rule in policy["ingress"] if "from" not in rule]
    assert everybody == [{"ports": [{"protocol": "TCP", "port": 8000}]}]
    for _, cluster in clusters():
        for template in templates(cluster):
            assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


def test_secrets_are_named_and_empty() -> None:
    secrets = {
        document["metadata"]["name"]: document["stringData"]
        for _, document in documents()
        if document["kind"] == "Secret"
    }
    assert set(secrets) == {"raygen-token", "raygen-store", "raygen-redis"}
    assert set(secrets["raygen-token"]) == {"auth_token"}
    assert not any(value for data in secrets.values() for value in data.values())
