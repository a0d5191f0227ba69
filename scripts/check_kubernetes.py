"""Check a manifest for KubeRay against the schema of its kind, unknown fields included.

    pip install pyyaml jsonschema
    python scripts/check_kubernetes.py examples/kubernetes/ray-job.yaml CRD

`CRD` is helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml of https://github.com/ray-project/kuberay.
"""

import pathlib
import sys

import jsonschema
import yaml


def closed(schema: object) -> object:
    """The schema, in which an object has no other fields than those that are named."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        inner.setdefault("additionalProperties", False)
    return inner


def main(manifest: str, definition: str) -> int:
    document = yaml.safe_load(pathlib.Path(manifest).read_text())
    crd = yaml.safe_load(pathlib.Path(definition).read_text())["spec"]
    if document["kind"] != crd["names"]["kind"]:
        raise SystemExit(f"{manifest} is a {document['kind']}, {definition} describes a {crd['names']['kind']}")
    group, number = document["apiVersion"].split("/")
    versions = [version for version in crd["versions"] if version["name"] == number and group == crd["group"]]
    if not versions:
        raise SystemExit(f"{definition} has no version {document['apiVersion']}")
    schema = closed(versions[0]["schema"]["openAPIV3Schema"])
    # Kubernetes itself knows what metadata holds.
    schema["properties"]["metadata"] = {"type": "object"}
    problems = list(jsonschema.Draft7Validator(schema).iter_errors(document))
    for problem in problems:
        print(f"{manifest}: {'.'.join(map(str, problem.absolute_path))}: {problem.message}")
    print(f"{manifest}: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
