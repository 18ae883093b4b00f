"""Which GEMMs a matrix, or a command line, asks for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import Cell, Quantization, Sparsity
from slidesparse_bench.errors import UsageError
from slidesparse_bench.gemm_wire import Task
from slidesparse_bench.matrix import Matrix
from slidesparse_bench.models import BUILTIN_NAMES, Architecture, ModelEntry, resolve

SQUARE = "square"
"""The model of sizes m = n = k that belong to none."""
NATIVE = "native"

Layer = tuple[str, str]
"""Names of a model and of one of its layers."""


@dataclass(frozen=True)
class Asked:
    """Tasks without the dense ones that they are compared with.

    A task of `native` stands for its sizes only. `left_out` says of a model of a matrix why it has no
    GEMMs, `unsplit` of a layer why vLLM does not spread it over so many GPUs.
    """

    name: str
    tasks: list[Task]
    left_out: dict[str, str]
    unsplit: dict[Layer, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Named:
    """A model as the command line names it."""

    name: str
    path: Path | None = None
    hub: str | None = None

    @classmethod
    def parse(cls, text: str) -> Named:
        """A built-in name, or a folder with `config.json`: whatever has a slash."""
        if "/" not in text:
            return cls(text)
        path = Path(text).expanduser().absolute()
        return cls(path.name.lower(), path)


@dataclass(frozen=True)
class Way:
    """What is asked of every size."""

    quantization: Quantization
    backend: str
    sparsity: Sparsity | None = None


def asked_of_matrix(matrix: Matrix, squares: Sequence[int] = ()) -> Asked:
    """The layers of every cell of a matrix, each M once whatever its stage, then square sizes.

    With `tensor_parallel_size` they are those of one GPU, and their names end in it.
    """
    tasks: dict[Task, None] = {}
    left_out: dict[str, str] = {}
    unsplit: dict[Layer, str] = {}
    cells = matrix.cells()
    architectures = {
        entry.name: _architecture(matrix.model(entry.name), left_out)
        for entry in matrix.models
        if any(cell.model == entry.name for cell in cells)
    }
    for cell in cells:
        architecture = architectures[cell.model]
        if architecture is not None:
            ranks = int(matrix.engine_args_for(cell).get("tensor_parallel_size") or 1)
            layers = _layers(cell, architecture, ranks)
            tasks |= dict.fromkeys(layers)
            if reason := architecture.refuses_split(ranks):
                unsplit |= {(task.model, task.layer): reason for task in layers}
    ways = dict.fromkeys(Way(cell.quantization, cell.backend, cell.sparsity) for cell in cells)
    tasks |= dict.fromkeys(_squares(squares, ways))
    return Asked(matrix.name, list(tasks), left_out, unsplit)


def asked_of_options(
    models: Sequence[str],
    quantizations: Sequence[str],
    backends: Sequence[str],
    sparsities: Sequence[str],
    ms: Sequence[int],
    squares: Sequence[int] = (),
) -> Asked:
    """The product of what a command line lists.

    Raises:
        UsageError: an unknown word, a model that cannot be read, or two models of one name.
    """
    ways = _ways(quantizations, backends, sparsities)
    tasks: list[Task] = []
    named_models = list(dict.fromkeys(map(Named.parse, models)))
    _refuse_namesakes(named_models, squares)
    for named in named_models:
        linears = _read(named).layer_linears
        tasks += [
            Task(named.name, linear.name, *_of(way), m, linear.n, linear.k)
            for linear, m, way in itertools.product(linears, ms, ways)
        ]
    tasks += _squares(squares, ways)
    name = "-".join([*(named.name for named in named_models), *([SQUARE] if squares else [])])
    return Asked(name, list(dict.fromkeys(tasks)), left_out={})


def _read(named: Named) -> Architecture:
    """Whoever types a name can correct it at once, so nothing is left out here."""
    if named.path is None and named.name not in BUILTIN_NAMES:
        raise _not_a_model(f"'{named.name}' is not built in")
    left_out: dict[str, str] = {}
    try:
        architecture = _architecture(named, left_out)
    except OSError as error:  # a name that is too long, a folder above it that is locked
        raise _not_a_model(f"{named.path}: {error.strerror or error}") from error
    if architecture is None:
        raise _not_a_model(left_out[named.name])
    return architecture


def _not_a_model(reason: str) -> UsageError:
    return UsageError(
        f"--model: {reason}; name a folder with config.json by a path with a slash, such as "
        f"./my-7b, or a built-in model: {', '.join(BUILTIN_NAMES)}"
    )


def _refuse_namesakes(models: Sequence[Named], squares: Sequence[int]) -> None:
    """Ids and tables tell models apart by their names."""
    taken = {SQUARE: "the sizes of --square"} if squares else {}
    for named in models:
        here = str(named.path or f"the built-in {named.name}")
        if named.name in taken:
            raise UsageError(
                f"--model: {taken[named.name]} and {here} are both called '{named.name}'; rename a "
                "folder, or measure them one after the other"
            )
        taken[named.name] = here


def _ways(
    quantizations: Sequence[str], backends: Sequence[str], sparsities: Sequence[str]
) -> list[Way]:
    for name in quantizations:
        if name not in set(Quantization):
            raise UsageError(f"--quantization '{name}' is not one of {', '.join(Quantization)}")
    parsed = []
    for text in sparsities:
        try:
            parsed.append(Sparsity.parse(text))
        except ValueError as error:
            raise UsageError(f"--sparsity: {error}") from error
    return [
        Way(Quantization(quantization), backend, sparsity)
        for quantization in quantizations
        for backend in backends
        for sparsity in (parsed if _backend_needs_sparsity(backend) else [None])
    ]


def _backend_needs_sparsity(name: str) -> bool:
    if name not in BACKENDS:
        raise UsageError(f"--backend '{name}' is not one of {', '.join(BACKENDS)}")
    return BACKENDS[name].needs_sparsity


def _layers(cell: Cell, architecture: Architecture, ranks: int) -> list[Task]:
    way = Way(cell.quantization, cell.backend, cell.sparsity)
    part = f"-tp{ranks}" if ranks > 1 else ""
    return [
        Task(cell.model, f"{linear.name}{part}", *_of(way), cell.m, linear.n, linear.k)
        for linear in architecture.shard(ranks).layer_linears
    ]


def _squares(sizes: Iterable[int], ways: Iterable[Way]) -> list[Task]:
    return [
        Task(SQUARE, f"{size}x{size}", *_of(way), size, size, size)
        for size, way in itertools.product(sizes, list(ways))
    ]


def _of(way: Way) -> tuple[Quantization, str, Sparsity | None]:
    return way.quantization, way.backend, way.sparsity


def _architecture(entry: ModelEntry, left_out: dict[str, str]) -> Architecture | None:
    """Its shapes. They are the same for every quantization, whichever the checkpoint has."""
    sources = [resolve(entry, quantization) for quantization in Quantization]
    known = [source.architecture for source in sources if source.architecture is not None]
    if not known:
        unknown = f"model '{entry.name}': its architecture is not known"
        left_out[entry.name] = sources[0].missing or unknown
    return known[0] if known else None
