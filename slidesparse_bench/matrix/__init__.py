"""The matrix file: what to measure, as a person writes it (pydantic, because a person does).

text -> `yaml_source` (places) -> `scalars` (numbers) -> `model` (fields) -> `checks` (the whole)
-> Matrix, or one MatrixError with every problem, each at its line and column.
"""

from slidesparse_bench.matrix.engine_args import refusal
from slidesparse_bench.matrix.fields import ModelEntry
from slidesparse_bench.matrix.globs import nearest_id, select
from slidesparse_bench.matrix.load import load_matrix, load_matrix_text
from slidesparse_bench.matrix.model import Matrix
from slidesparse_bench.matrix.scalars import resolve
from slidesparse_bench.matrix.schema import matrix_json_schema

__all__ = [
    "Matrix",
    "ModelEntry",
    "load_matrix",
    "load_matrix_text",
    "matrix_json_schema",
    "nearest_id",
    "refusal",
    "resolve",
    "select",
]
