"""An `oc` that plays a cluster for the scripts of deploy/: objects have the API's shapes, and changes are recorded.

The scripts read by JSONPath out of these objects, so a field that the API does not have gives nothing;
test_deploy_jsonpath.py compares the answers with kubectl's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"

# Reads and writes the cluster, a JSON file. It goes on a step with some of the calls.
OC = r"""
import json, os, re, sys
path = os.environ["CLUSTER"]
cluster = json.load(open(path))
words = sys.argv[1:]
namespace = ""
if words[:1] == ["-n"]:
    namespace, words = words[1], words[2:]
said, status = "", 0

def option(name):
    return words[words.index(name) + 1] if name in words else ""

def find(at, steps):
    for step in steps:
        if step == "[*]":
            at = [each for one in at for each in (one or [])]
        elif step.startswith("[?"):
            key, value = re.fullmatch(r'\[\?\(@\.(\w+)=="(\w+)"\)\]', step).groups()
            at = [each for one in at for each in (one or []) if each.get(key) == value]
        else:
            key = step[1:].replace("\\.", ".")
            at = [one[key] for one in at if isinstance(one, dict) and key in one]
    return at

def shown(value):
    if isinstance(value, str) or value is None:
        return value or ""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

def jsonpath(template, root):
    parts, made = re.findall(r"\{[^}]*\}|[^{]+", template), ""
    while parts:
        part = parts.pop(0)
        if part.startswith("{range "):
            end = parts.index("{end}")
            inner, parts = "".join(parts[:end]), parts[end + 1:]
            made += "".join(jsonpath(inner, one) for one in find([root], steps(part[7:-1])))
        elif part.startswith('{"'):
            made += json.loads(part[1:-1])
        elif part.startswith("{"):
            made += " ".join(map(shown, find([root], steps(part[1:-1]))))
        else:
            made += part
    return made

def steps(text):
    found = re.findall(r"\.(?:\\\.|[\w/-])+|\[\*\]|\[\?[^]]*\]", text)
    assert "".join(found) == text, text
    return found

def answer(root):
    template = option("-o").removeprefix("jsonpath=")
    assert template.startswith("{") and option("-o").startswith("jsonpath="), words
    answered = jsonpath(template, root)
    cluster["asked"].append([template, json.loads(json.dumps(root)), answered])
    return answered

def is_built(tag):
    applied = any(f"name: {tag}\n" in text for _, text in cluster["applied"])
    return tag in cluster["tagged"] or applied and not cluster["phases"].get(tag)

def complete(tag):
    # Of a build for a toolkit; `compiled_with` has another than the tag has now.
    toolkit = tag.split("-", 3)[-1]
    stream = {each["tag"]: each["items"] for each in cluster["toolkits"]["status"]["tags"]}
    images = [each["image"] for each in stream.get(toolkit) or []]
    digest = cluster["compiled_with"].get(toolkit, (images or [""])[0])
    used = {"kind": "DockerImage", "name": "registry.example/release@" + digest}
    output = {"to": {"imageDigest": cluster["image"].partition("@")[2]}}
    source = {"images": [{"as": ["driver-toolkit:of-the-cluster"], "from": used}]}
    return {"spec": {"source": source}, "status": {"phase": "Complete", "output": output}}

pods = cluster.get("pods", [])
call = " ".join(words[:2])
cluster["calls"].append(call)
if any(" ".join(words).startswith(each) for each in cluster["refuses"]):
    sys.stderr.write("Unable to connect to the server\n")
    status = 1
else:
    match words[:3]:
        case ["kustomize", folder]:
            said = open(folder + "/all.yaml").read()
        case ["apply", "-f", "-"]:
            cluster["applied"].append([option("-l"), sys.stdin.read()])
        case ["get", "clusterversions.config.openshift.io", "version"]:
            said = answer(cluster["version"])
        case ["get", "configs.imageregistry.operator.openshift.io", "cluster"]:
            said = answer(cluster["registry"])
        case ["get", "infrastructures.config.openshift.io", "cluster"]:
            said = answer(cluster["infrastructure"])
        case ["get", "imagestreams", "driver-toolkit"]:
            assert namespace == "openshift"
            said = answer(cluster["toolkits"])
        case ["get", "imagestreamtags", tag]:
            assert "--ignore-not-found" in words
            said = answer({"image": {"dockerImageReference": cluster["image"]}}) if is_built(tag) else ""
        case ["get", "builds", "-l"]:
            tag = option("-l").removeprefix("openshift.io/build-config.name=").replace("-client-", "-client:", 1)
            phases, built = cluster["phases"].get(tag, []), is_built(tag)
            lines = phases[0].split("\n") if phases else []
            # A build that failed stays so.
            cluster["phases"][tag] = phases if lines and lines[-1].startswith("Failed") else phases[1:]
            keys = ("phase", "reason", "message")
            items = [{"status": dict(zip(keys, line.split(" ", 2)))} for line in lines if line]
            before = [{"status": {"phase": "Complete"}}] if items else []
            after = [{"status": dict(zip(keys, line.split(" ", 2)))} for line in cluster["later_builds"].get(tag, [])]
            said = answer({"items": [complete(tag), *after] if built else before + items})
        case ["tag", source, destination]:
            assert source == "beegfs-client/beegfs-client@" + cluster["image"].partition("@")[2]
            cluster["tagged"].append(destination.removeprefix("beegfs-client/"))
        case ["get", "buildconfigs", "-l"]:
            applied = [text for selector, text in cluster["applied"] if not selector]
            made = [re.search(r"^  name: (\S+)", text, re.MULTILINE)[1] for text in applied]
            names = dict.fromkeys(cluster["buildconfigs"] + made)
            said = "\n".join("buildconfig.build.openshift.io/" + name for name in names)
        case ["get", "daemonsets", "-l"]:
            named = option("-o") == "name"
            said = "\n".join(cluster["daemonsets"]) if named else answer({"items": cluster["daemonsets"]})
        case ["get", "customresourcedefinitions.apiextensions.k8s.io", name]:
            known = cluster["definitions"]
            said = (name if name in known else "") if option("-o") == "name" else answer(known[name])
        case ["get", "machineconfigpools.machineconfiguration.openshift.io", _]:
            said = answer({"items": cluster["pools"]})
        case ["get", "configmap", "beegfs-client-releases"] | ["get", "modules.kmm.sigs.x-k8s.io", "beegfs"]:
            assert namespace == "beegfs-client" and "--ignore-not-found" in words
            found = cluster[words[1].partition("s.")[0]]
            said = answer(found) if found else ""
        case ["image", "info", name]:
            said = json.dumps({"name": name, "config": {"config": {"Labels": cluster["labels"]}}}, indent=2)
        case ["rollout", "status", _]:
            ready = [pod["status"]["conditions"][0]["status"] == "True" for pod in pods]
            if not all(ready) or any("deletionTimestamp" in pod["metadata"] for pod in pods):
                status = 1
            elif cluster["next"]:
                name = cluster["next"].pop(0)
                [index] = [index for index, pod in enumerate(pods) if pod["spec"]["nodeName"] == name]
                pods[index] = cluster["blocked"][name]
                status = 1
        case ["get", "pods", "-l"]:
            node = option("--field-selector").removeprefix("spec.nodeName=")
            items = [pod for pod in pods if node in (pod["spec"]["nodeName"], "metadata.namespace=beegfs-client", "")]
            said = answer({"items": items})
            for pod in items:
                if pod["spec"]["nodeName"] in cluster["drained"] and not cluster["stuck"]:
                    pod["metadata"].pop("deletionTimestamp", None)
                    pod["status"]["conditions"][0]["status"] = "True"
        case ["logs", config] if config.startswith("buildconfig/"):
            said = cluster["build_logs"].get(config.split("-", 4)[-1], "rebuild-module: compiling client")
        case ["logs", name, "-c"]:
            [pod] = [pod for pod in pods if pod["metadata"]["name"] == name]
            said = pod["log"]
            status = 0 if said else 1
        case ["get", "node", name]:
            said = answer({"spec": {"unschedulable": True} if name in cluster["cordoned"] else {}})
        case ["get", "nodes", *_]:
            key, equals, value = option("-l").partition("=")
            items = [node for node in cluster["nodes"] if not key or key in node["metadata"]["labels"]]
            items = [node for node in items if not equals or node["metadata"]["labels"][key] == value]
            names = "\n".join("node/" + node["metadata"]["name"] for node in items)
            said = names if option("-o") == "name" else answer({"items": items})
        case ["adm", action, name]:
            cluster[{"drain": "drained", "uncordon": "uncordoned"}[action]].append(name)
        case _:
            sys.exit("no such call: " + " ".join(words))
print(said)
json.dump(cluster, open(path, "w"))
sys.exit(status)
"""


_NOTHING: dict[str, Any] = {
    "calls": [],
    "asked": [],
    "refuses": [],
    "tagged": [],
    "compiled_with": {},
    "later_builds": {},
    "build_logs": {},
}


class Cluster:
    """A cluster as the scripts see it, with all their changes.

    `asked` has each JSONPath that was asked for, with the object and the answer.
    """

    def __init__(self, folder: Path, **state: Any) -> None:
        self.file = folder / "cluster.json"
        self.file.write_text(json.dumps({**_NOTHING, **state}))
        self.programs = folder / "programs"
        self.programs.mkdir()
        (self.programs / "oc.py").write_text(OC)
        program(self.programs / "oc", f'exec {sys.executable} -I -S "{self.programs}/oc.py" "$@"')
        program(self.programs / "sleep", "exit 0")

    def run(self, script: str, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a script of deploy/, or another one, with the programs of `path` beside `oc`; by default all of them."""
        path = os.environ["PATH"] if path is None else path
        environment = {"PATH": f"{self.programs}:{path}", "CLUSTER": str(self.file)}
        command = [str(DEPLOY / script), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def change(self, **state: Any) -> None:
        """Let something else happen in the cluster."""
        self.file.write_text(json.dumps({**json.loads(self.file.read_text()), **state}))

    def __getitem__(self, key: str) -> Any:
        return json.loads(self.file.read_text())[key]


def program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/bash\n{line}\n")
    path.chmod(0o755)


def node(name: str, system: str = "", ready: str = "True", arch: str = "amd64", **labels: str) -> dict[str, Any]:
    """Return a Node of k8s.io/api core/v1, with the fields that the scripts could read."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", **labels}},
        "status": {
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
            "nodeInfo": {
                "architecture": arch,
                "osImage": system,
                "kernelVersion": "5.14.0-427.50.1.el9_4.x86_64",
            },
        },
    }


class _Dumper(yaml.SafeDumper):
    """Write as kustomize does: texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else '"' if value in {"yes", "no"} else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def kustomized(documents: list[dict[str, Any]]) -> str:
    """Return objects as `oc kustomize` writes them; a test compares this with kubectl's output."""
    return str(yaml.dump_all(documents, Dumper=_Dumper, width=10_000))
