"""The command line starts fast and without the ML stack; heavy packages stay in their files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import slidesparse_bench

PACKAGE = Path(slidesparse_bench.__file__).parent
HEAVY = ("torch", "vllm", "triton", "nvmath", "pandas", "matplotlib", "ray", "transformers")
ALLOWED = {
    "torch": {
        "worker/conversion_record.py",
        "worker/convert.py",
        "worker/engines/vllm_engine.py",
        "worker/gemm_bench.py",
        "worker/gemm_check.py",
        "worker/gemm_timing.py",
        "worker/gemm_ways.py",
        "worker/peak_rates.py",
        "vllm_plugin/bit_patterns.py",
        "vllm_plugin/compress24.py",
        "vllm_plugin/cublaslt.py",
        "vllm_plugin/cusparselt.py",
        "vllm_plugin/dequantize.py",
        "vllm_plugin/dequantize_kernel.py",
        "vllm_plugin/emulated.py",
        "vllm_plugin/event_timing.py",
        "vllm_plugin/evidence.py",
        "vllm_plugin/fusion.py",
        "vllm_plugin/gemm.py",
        "vllm_plugin/linear.py",
        "vllm_plugin/ops.py",
        "vllm_plugin/packing.py",
        "vllm_plugin/quantize_kernel.py",
        "vllm_plugin/random_weights.py",
        "vllm_plugin/reference_gemm.py",
        "vllm_plugin/silu_kernel.py",
        "vllm_plugin/sparsity.py",
    },
    "vllm": {
        "worker/engines/vllm_engine.py",
        "worker/gemm_ways.py",
        "worker/peak_rates.py",
        "vllm_plugin/fusion.py",
        "vllm_plugin/linear.py",
        "vllm_plugin/random_weights.py",
    },
    "triton": {
        "vllm_plugin/dequantize_kernel.py",
        "vllm_plugin/quantize_kernel.py",
        "vllm_plugin/silu_kernel.py",
    },
    "nvmath": {"vllm_plugin/cublaslt.py", "vllm_plugin/cusparselt.py"},
    "pynvml": {"nvml.py"},
    "matplotlib": {"report/plots.py"},
    "psutil": {"device.py", "health.py", "neighbours.py", "nvml.py", "processes.py"},
}

BLOCK_AND_RUN = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ImportError(f"{{name}} is blocked by this test")
sys.meta_path.insert(0, Blocker())
from slidesparse_bench.cli import invoke
sys.exit(invoke({arguments!r}))
"""

MATRIX = """
name: imports
models: [tiny-llama]
stages: {prefill: {M: [512]}}
engine: fake
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        *[
            [command, "--help"]
            for command in (
                "run", "retry", "report", "plan", "status", "classify", "compare", "import", "doctor",
                "gemm", "bundle", "schema", "prepare",
            )
        ],
        ["schema"],
        ["plan", "matrix.yaml"],
        ["run", "matrix.yaml", "--json"],
        ["status"],
        ["status", "--json"],
        ["bundle", "--json"],
        ["retry", "--failed"],
        ["classify", "a.log", "--json"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_command_needs_the_ml_stack(started_run, arguments):
    program = BLOCK_AND_RUN.format(heavy=HEAVY, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=started_run,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_doctor_needs_no_ml_stack_to_say_that_it_is_missing(tmp_path):
    program = BLOCK_AND_RUN.format(heavy=HEAVY, arguments=["doctor", "--json"])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 3), done.stderr  # 3: this machine has no vLLM
    assert "is blocked by this test" not in done.stdout + done.stderr
    assert '"checks"' in done.stdout


@pytest.fixture(scope="module")
def started_run(tmp_path_factory):
    """A folder with a matrix, a log, and one finished run of the fake engine."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "matrix.yaml").write_text(MATRIX)
    (folder / "a.log").write_text("all is well\n")
    command = [sys.executable, "-m", "slidesparse_bench"]
    subprocess.run(
        [*command, "run", "matrix.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    return folder


def test_heavy_packages_are_imported_in_their_own_files_only():
    found = {name: set() for name in ALLOWED}
    for path in PACKAGE.rglob("*.py"):
        for imported in imported_packages(path):
            if imported in found:
                found[imported].add(path.relative_to(PACKAGE).as_posix())
    assert {
        name: files - ALLOWED[name] for name, files in found.items() if files - ALLOWED[name]
    } == {}


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
