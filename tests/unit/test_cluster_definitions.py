"""The files of cluster/ as the programs that read them would take them: Ray's launcher, the clouds' own schemas, KubeRay's CRDs."""

from __future__ import annotations

import functools
import json
import re
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from codelib.core.config import load
from codelib.evaluate.variants import load_variants
from codelib.train.settings import TrainSettings

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
CLOUDS = ("aws", "gcp", "aliyun")
LAUNCHED = (*CLOUDS, "onprem")
MANIFESTS = sorted((CLUSTER / "kuberay").glob("*.yaml"))


def launcher(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_takes_the_definition(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(launcher(name))
    validate_config(config)
    assert sum(kind["max_workers"] for kind in config["available_node_types"].values()) >= 1


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_costs_its_head_alone_while_nothing_runs(name: str) -> None:
    config = launcher(name)
    types = config["available_node_types"]
    assert all(kind["min_workers"] == 0 for kind in types.values())
    assert types["head"]["resources"] == {"CPU": 0}
    assert config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False
    assert any(kind["resources"].get("GPU", 0) >= 1 and kind["max_workers"] for kind in types.values())
    assert max(kind["max_workers"] for kind in types.values()) <= config["max_workers"]


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_cluster_asks_for_its_token_and_names_no_secret(name: str) -> None:
    text = (CLUSTER / f"{name}.yaml").read_text()
    config = launcher(name)
    assert "~/.ray/auth_token" in config["file_mounts"]
    if name != "onprem":  # there the hosts' ~/.bashrc sets it
        starts = [line for key in ("head", "worker") for line in config[f"{key}_start_ray_commands"] if "ray start" in line]
        assert len(starts) == 2
        assert all("RAY_AUTH_MODE=token ray start" in line for line in starts)
    assert not re.search(r"AKIA|AccessKeySecret|BEGIN .*PRIVATE|access_key_secret:", text)


def test_aws_would_take_every_machine() -> None:
    import botocore.session
    from botocore.validate import ParamValidator

    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for name, kind in launcher("aws")["available_node_types"].items():
        asked = {**kind["node_config"], "MinCount": 1, "MaxCount": 1}
        problems = ParamValidator().validate(asked, shape)
        assert not problems.has_errors(), f"{name}: {problems.generate_report()}"
        # without them Ray takes an image of Ubuntu 18.04, and a role for the head alone
        assert asked["ImageId"].startswith("ami-"), name
        assert asked["IamInstanceProfile"] == {"Name": "codelib-head" if name == "head" else "codelib-worker"}


def test_google_would_take_every_machine() -> None:
    document = files("googleapiclient.discovery_cache") / "documents" / "compute.v1.json"
    schemas = json.loads(document.read_text())["schemas"]
    for name, kind in launcher("gcp")["available_node_types"].items():
        node = dict(kind["node_config"])
        # Ray writes these two as lists of one; the API has one object
        node["scheduling"] = node.pop("scheduling", [{}])[0]
        assert not list(unknown_fields(node, "Instance", schemas)), name


def unknown_fields(value: Any, schema: str, schemas: dict[str, Any], place: str = "") -> Any:
    """Places whose name the API does not know, or whose value is none of its choices."""
    known = schemas[schema]["properties"]
    for field, inner in value.items():
        if field not in known:
            yield f"{place}{field}"
            continue
        kind = known[field]
        if "enum" in kind and inner not in kind["enum"]:
            yield f"{place}{field}={inner}"
        reference = kind.get("$ref") or kind.get("items", {}).get("$ref")
        for one in inner if isinstance(inner, list) else [inner]:
            if reference and isinstance(one, dict):
                yield from unknown_fields(one, reference, schemas, f"{place}{field}.")


def test_the_check_of_googles_fields_finds_a_wrong_one() -> None:
    schemas = {
        "Instance": {"properties": {"disks": {"items": {"$ref": "Disk"}}, "machineType": {}}},
        "Disk": {"properties": {"type": {"enum": ["PERSISTENT"]}}},
    }
    found = list(unknown_fields({"machinetype": "n2", "disks": [{"type": "SSD", "boot": True}]}, "Instance", schemas))
    assert found == ["machinetype", "disks.type=SSD", "disks.boot"]


def test_an_evaluation_on_a_cluster_that_begins_without_gpus_asks_for_them() -> None:
    """Nothing but its settings says that there will be some: the models would answer on CPUs."""
    spec = yaml.safe_load((CLUSTER / "kuberay" / "rayjob-evaluate.yaml").read_text())["spec"]
    group = spec["rayClusterSpec"]["workerGroupSpecs"][0]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert group["replicas"] == 0
    words = spec["entrypoint"].split()
    assert "num_gpus_per_actor=1" in words
    assert f"num_actors={group['maxReplicas'] * int(limits['nvidia.com/gpu'])}" in words


def test_a_pod_finds_its_models_in_the_bucket() -> None:
    """No image and no volume holds one, and nothing is downloaded while a job runs."""
    train, evaluate = ((CLUSTER / "kuberay" / f"rayjob-{name}.yaml").read_text() for name in ("train", "evaluate"))
    words = yaml.safe_load(train)["spec"]["entrypoint"].split()
    base = load(TrainSettings, "train", "paper-7b", []).model
    assert f"model=s3://BUCKET/workspace/{base}" in words
    wanted = {one.model for one in load_variants("paper") if one.engine == "transformers"}
    told = "".join(line for line in (train + evaluate).splitlines() if "aws s3 sync" in line)
    assert all(f"s3://BUCKET/workspace/{name} " in told for name in wanted)


def test_alibaba_clouds_machines_hold_what_rays_provider_reads() -> None:
    config = launcher("aliyun")
    for kind in config["available_node_types"].values():
        assert set(kind["node_config"]) == {"InstanceType", "ImageId"}  # anything else would be passed over in silence
    assert {"region", "zone_id", "cidr_block", "key_name", "security_group_rule"} <= set(config["provider"])
    outside = [rule for rule in config["provider"]["security_group_rule"] if not rule["source_cidr_ip"].startswith("172.16.")]
    assert [rule["port_range"] for rule in outside] == ["22/22"]


# KubeRay


def strict(schema: Any) -> Any:
    """A CRD's schema as `kubectl apply --validate=strict` reads it: an unknown field is an error."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = dict(schema)
    if schema.pop("x-kubernetes-int-or-string", None):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.pop("nullable", False) and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    schema.pop("format", None)
    if "properties" in schema:
        schema["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
    for name in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(name), dict):
            schema[name] = strict(schema[name])
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema and "properties" not in schema:
            schema[name] = strict(schema[name])
    return schema


@functools.cache
def validators(folder: Path) -> dict[tuple[str, str], Any]:
    from jsonschema import Draft202012Validator

    found = {}
    for file in sorted(folder.glob("ray.io_*.yaml")):
        document = yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for version in document["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            key = (f"{document['spec']['group']}/{version['name']}", document["spec"]["names"]["kind"])
            found[key] = Draft202012Validator(schema)
    return found


def complaints(document: dict[str, Any], folder: Path) -> list[str]:
    validator = validators(folder)[document["apiVersion"], document["kind"]]
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:100]}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_kuberay_takes_the_manifest(file: Path, real_data: Path) -> None:
    document = yaml.safe_load(file.read_text())
    assert complaints(document, real_data / "kuberay-crd") == []
    document["spec"]["rayVersio"] = document["spec"].pop("rayVersion", "")
    assert any("rayVersio" in line for line in complaints(document, real_data / "kuberay-crd"))


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_a_manifest_scales_to_its_head_and_asks_for_a_token(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    cluster = document["spec"].get("rayClusterSpec", document["spec"])
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    assert [group["minReplicas"] for group in cluster["workerGroupSpecs"]] == [0] * len(cluster["workerGroupSpecs"])
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    if document["kind"] == "RayJob":
        assert document["spec"]["shutdownAfterJobFinishes"] is True


def test_one_version_of_ray_everywhere() -> None:
    pinned = re.search(r"^ray==([\d.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    for file in (*MANIFESTS, CLUSTER / "Dockerfile"):
        named = set(re.findall(r'rayVersion: "([\d.]+)"|rayproject/ray:([\d.]+)', file.read_text()))
        assert named
        assert {one or other for one, other in named} == {pinned[1]}, file.name


# the image and what is submitted (what the entry points say: test_documented_commands)


def test_the_image_copies_what_there_is_and_nothing_secret() -> None:
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    copied = [line.split()[2:-1] for line in lines if line.startswith("COPY")]
    assert copied
    for name in (name for group in copied for name in group):
        assert (ROOT / name).exists(), name
    assert not any(re.search(r"^(?:ENV|ARG) .*(?:KEY|TOKEN|SECRET)", line) for line in lines)
    extras = set(re.search(r"'\.\[([\w,]+)\]'", "\n".join(lines))[1].split(","))  # type: ignore[index]
    declared = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    assert extras <= declared


def test_what_is_submitted_is_code_and_nothing_of_a_workspace(tmp_path: Path) -> None:
    """Packed as `ray job submit` packs it, from a checkout that somebody works in."""
    from ray._private.runtime_env.packaging import create_package

    environment = yaml.safe_load((CLUSTER / "runtime_env.yaml").read_text())
    sent = {"codelib/core/a.py", "codelib/data/terms.csv", "jobs/dataset.py", "jobs/recipes/paper.yaml", "mine.yaml"}
    stays = {
        "work/private/key",
        "w2/release/train.json",
        "export/sheet.csv",
        "withdrawn.txt",
        ".venv/bin/python",
        "w/private/key",
    }
    stays |= {"private/ledger.csv", ".env", "keys.env", "docs/running.md", "work/mine.yaml", ".git/config", "sheet.xlsx"}
    for name in sent | stays:
        (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "checkout" / name).write_text("x")
    package = tmp_path / "package.zip"
    create_package(str(tmp_path / "checkout"), package, include_gitignore=True, excludes=environment["excludes"])
    with zipfile.ZipFile(package) as archive:
        assert {name for name in archive.namelist() if not name.endswith("/")} == sent


def test_a_stopped_job_has_the_time_of_a_checkpoint_and_no_secret_is_sent() -> None:
    """Ray kills three seconds after `ray job stop` otherwise."""
    environment = yaml.safe_load((CLUSTER / "runtime_env.yaml").read_text())["env_vars"]
    assert int(environment["RAY_JOB_STOP_WAIT_TIME_S"]) >= 300
    assert not any(word in name for name in environment for word in ("KEY", "TOKEN_", "SECRET"))
    for file in MANIFESTS:
        document = yaml.safe_load(file.read_text())
        if document["kind"] == "RayJob":
            assert yaml.safe_load(document["spec"]["runtimeEnvYAML"]) == {"env_vars": environment}
