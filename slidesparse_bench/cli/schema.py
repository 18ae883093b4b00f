"""`slidesparse schema`."""

from __future__ import annotations

import typer

from slidesparse_bench.cli.output import Json, print_json
from slidesparse_bench.matrix import matrix_json_schema


def schema(json_mode: Json = False) -> None:
    """Print the JSON Schema of the matrix, for editors and other programs.

    A matrix whose first line is `# yaml-language-server: $schema=matrix.schema.json` is checked
    and completed while you type by any editor with the YAML language server.

    **Example**: `slidesparse schema > matrices/matrix.schema.json`
    """
    del json_mode  # the schema is JSON either way
    print_json(matrix_json_schema())


def register(app: typer.Typer) -> None:
    app.command()(schema)
