"""JSON Schema of the matrix, for editors (yaml-language-server): completion, help, red lines.

Committed as `matrices/matrix.schema.json`. Generated from the model, with what pydantic cannot
see added: short spellings, the checks of settings, and engine arguments. It allows all that the
loader allows; the loader finds more.
"""

from __future__ import annotations

from typing import Any

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import FEWEST_DECODE_ITERATIONS, FEWEST_PREFILL_ITERATIONS
from slidesparse_bench.matrix.engine_args import OWNED
from slidesparse_bench.matrix.model import SETTINGS, Matrix
from slidesparse_bench.models import BUILTIN_NAMES

Schema = dict[str, Any]

_SETTINGS_KEYS: dict[str, Schema] = {
    "precision": {
        "description": "Half width of the 95 % confidence interval to reach, as a share: 0.01 is 1 %.",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
    },
    "min_iterations": {
        "description": "Iterations at least; without it "
        f"{FEWEST_PREFILL_ITERATIONS} in prefill, {FEWEST_DECODE_ITERATIONS} in decode.",
        "minimum": 2,
    },
    "min_warmup_s": {"description": "Warm-up at least, in seconds.", "minimum": 0},
    "lead_in_s": {
        "description": "Uncounted load before each series of iterations, in seconds.",
        "minimum": 0,
    },
    "min_measure_s": {"description": "Measured time at least, in seconds.", "minimum": 0},
    "max_warmup_iterations": {
        "description": "Iterations that may pass before the step time is steady.",
        "minimum": 1,
    },
    "fixed_iterations": {
        "description": "Exactly so many iterations, whatever the interval.",
        "minimum": 1,
    },
    "profile_iterations": {
        "description": "Iterations afterwards under the profiler, for kernels.json of the attempt.",
        "minimum": 0,
    },
    "attempt_s": {"description": "One attempt, from start to end.", "exclusiveMinimum": 0},
    "silence_s": {
        "description": "Time without a new log line or phase.",
        "exclusiveMinimum": 0,
    },
    "grace_s": {"description": "From SIGTERM to SIGKILL.", "exclusiveMinimum": 0},
    "memory_wait_s": {
        "description": "How long a cell waits for device memory that somebody else holds.",
        "minimum": 0,
    },
    "max_attempts": {
        "description": "Attempts at one cell within one run; 1 turns retries off.",
        "minimum": 1,
    },
    "max_disturbed": {
        "description": "How often a disturbed measurement is repeated; the last one counts, marked.",
        "minimum": 0,
    },
    "utilization_ladder": {
        "description": "gpu_memory_utilization, step by step, when the KV cache has no room.",
        "minItems": 1,
        "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    },
}
_ENGINE_ARGS: Schema = {
    "gpu_memory_utilization": {
        "description": "Share of the device's memory that the engine may use.",
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
    },
    "tensor_parallel_size": {
        "description": "GPUs that one engine spreads over.",
        "type": "integer",
        "minimum": 1,
    },
    "enforce_eager": {
        "description": "No CUDA graphs: starts faster, decodes slower.",
        "type": "boolean",
    },
    **{name: {"not": {}, "description": f"Not here: {why}."} for name, why in OWNED.items()},
}


def matrix_json_schema() -> Schema:
    """The schema, draft 2020-12."""
    generated = Matrix.model_json_schema()
    definitions = generated["$defs"]
    _accept_short_models(definitions)
    definitions["BackendEntry"] = _backend(definitions.pop("BackendOptions"))
    for settings in SETTINGS.values():
        _describe_settings(definitions[settings.__name__])
    for holder in (generated, definitions["Override"]):
        _describe_parts(holder["properties"])
    properties = generated["properties"]
    properties["backends"]["default"] = ["native"]
    name = properties.pop("name")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slidesparse-bench matrix",
        "description": "Models, quantizations, backends, sparsities, stages and M to measure.",
        "type": "object",
        "properties": _plain({"name": name, **properties}),
        "required": sorted(generated["required"]),
        "additionalProperties": False,
        "$defs": _plain(definitions),
    }


def _accept_short_models(definitions: Schema) -> None:
    written_out = definitions["ModelEntry"]
    written_out["not"] = {"required": ["path", "hub"]}
    for key in ("path", "hub"):
        written_out["properties"][key]["type"] = "string"
        del written_out["properties"][key]["anyOf"]
    builtin = {"enum": list(BUILTIN_NAMES), "description": "A built-in model."}
    definitions["ModelEntry"] = {"anyOf": [builtin, written_out]}


def _backend(options: Schema) -> Schema:
    dense = {
        name: {"description": backend.summary, "type": ["object", "null"], "maxProperties": 0}
        for name, backend in BACKENDS.items()
        if not backend.needs_sparsity
    }
    sparsity = options["properties"]["sparsity"]
    sparsity.update(next(one for one in sparsity.pop("anyOf") if one.get("type") == "array"))
    options["required"] = ["sparsity"]
    sparse = {
        name: {**options, "description": backend.summary}
        for name, backend in BACKENDS.items()
        if backend.needs_sparsity
    }
    by_key = {
        "type": "object",
        "properties": dense | sparse,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"enum": list(dense)}, by_key]}


def _describe_settings(definition: Schema) -> None:
    del definition["description"]
    for key, schema in definition["properties"].items():
        schema.update(_SETTINGS_KEYS[key])


def _describe_parts(properties: Schema) -> None:
    """Keys that may stand empty, and what engine arguments are."""
    properties["engine_args"].update(properties=_ENGINE_ARGS, type=["object", "null"])
    for name, settings in SETTINGS.items():
        reference = {"$ref": f"#/$defs/{settings.__name__}"}
        described = {"description": properties[name]["description"], "default": {}}
        properties[name] = {"anyOf": [reference, {"type": "null"}], **described}
    for name in ("include", "exclude", "overrides"):
        if name in properties:
            properties[name]["type"] = ["array", "null"]


def _plain(schema: Any) -> Any:
    """Without the titles that pydantic makes of names, and its null for what may be left out."""
    if isinstance(schema, dict):
        noise = [
            key
            for key, value in schema.items()
            if (key == "title" and isinstance(value, str)) or (key == "default" and value is None)
        ]
        return {key: _plain(value) for key, value in schema.items() if key not in noise}
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema
