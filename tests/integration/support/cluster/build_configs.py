"""The BuildConfigs that deploy/build-in-cluster applies, built by the engine as openshift/builder builds them."""

from __future__ import annotations

import posixpath
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from kmatrix.effects.engine import Engine
from tests.integration.support.cluster.openshift import built_dockerfile, with_bases
from tests.integration.support.session import Session
from tests.unit.support.build_cluster import cluster_of, run


@dataclass(frozen=True)
class Applied:
    """The objects that the script applied to a cluster.

    Attributes:
        modules: the BuildConfigs that compile modules alone, by the tag of the toolkit's ImageStream.
        image: the BuildConfig of the image that the DaemonSets run.
        tagged: ImageStreamTags that were given the image of another one.
    """

    modules: Mapping[str, Mapping[str, Any]]
    image: Mapping[str, Any]
    tagged: Sequence[str]


def output_of(config: Mapping[str, Any]) -> str:
    """Return the ImageStreamTag of a BuildConfig's image."""
    return str(config["spec"]["output"]["to"]["name"])


def applied_by_the_script(text: str, folder: Path, nodes: list[dict[str, Any]], toolkits: dict[str, Any]) -> Applied:
    """Run deploy/build-in-cluster against an `oc` that plays a cluster in which every build succeeds.

    Args:
        text: a rendered folder, as `kubectl kustomize` writes it.
        folder: an empty one, for the cluster.
        nodes: of the cluster.
        toolkits: the ImageStream openshift/driver-toolkit.
    """
    cluster = cluster_of(folder, nodes=nodes, toolkits=toolkits)
    (folder / "folder" / "all.yaml").write_text(text, encoding="utf-8")
    done = run(cluster)
    assert done.returncode == 0, done.stderr
    configs = [yaml.safe_load(applied) for selector, applied in cluster["applied"] if not selector]
    *modules, image = configs
    by_toolkit = {config["spec"]["source"]["images"][0]["from"]["name"].partition(":")[2]: config for config in modules}
    assert all(config["kind"] == "BuildConfig" for config in configs)
    return Applied(by_toolkit, image, cluster["tagged"])


@contextmanager
def built_config(
    engine: Engine,
    session: Session,
    config: Mapping[str, Any],
    files: Mapping[str, str],
    known: Mapping[str, str],
    log: list[str],
) -> Iterator[str]:
    """Build a BuildConfig and yield the image, which is removed at the end.

    Args:
        engine: builds.
        session: whose label the image has.
        config: the BuildConfig.
        files: the data of its ConfigMap.
        known: image by ImageStreamTag.
        log: is given the build's output.
    """
    source, strategy = config["spec"]["source"], config["spec"]["strategy"]["dockerStrategy"]
    images = source.get("images", ())
    named = {name: known[image["from"]["name"]] for image in images for name in image.get("as", ())}
    last = known[strategy["from"]["name"]] if "from" in strategy else ""
    dockerfile = with_bases(source["dockerfile"], last, named)
    arguments = {each["name"]: each["value"] for each in strategy["buildArgs"]}
    with TemporaryDirectory() as folder:
        for image in images:
            for path in image.get("paths", ()):
                _copy_out(
                    engine, known[image["from"]["name"]], path["sourcePath"], Path(folder, path["destinationDir"])
                )
        with built_dockerfile(engine, session, dockerfile, files, arguments, log, Path(folder)) as made:
            yield made


def _copy_out(engine: Engine, image: str, source: str, destination: Path) -> None:
    """Copy a path of an image into the context.

    pkg/build/builder/source.go of openshift/builder: extractSourceFromImage mounts the image and keeps the path's end
    `/.`, copyImageSourceFromFilesytem creates the folder and runs `cp -r`. So images are copied over each other.
    """
    whole = source.endswith("/.")
    path = posixpath.normpath(source)
    with TemporaryDirectory() as mounted, engine.container(image) as container:
        subprocess.run(["tar", "-x", "-C", mounted], input=engine.take_archive(container, path), check=True)
        inside = f"{mounted}/{posixpath.basename(path)}" + ("/." if whole else "")
        destination.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", inside, str(destination)], check=True)
