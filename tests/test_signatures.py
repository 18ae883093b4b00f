"""Every signature is data with an example, and the example must classify as itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from slidesparse_bench.failures import CLASSES, classify
from slidesparse_bench.failures.classes import classes_table
from slidesparse_bench.failures.scan import scan_log
from slidesparse_bench.failures.signature import Signature, Tier
from slidesparse_bench.failures.signatures import SIGNATURES
from slidesparse_bench.records import Verdict

DOCS = Path(__file__).parents[1] / "docs" / "failures.md"

each_signature = pytest.mark.parametrize("signature", SIGNATURES, ids=lambda entry: entry.id)


@each_signature
def test_example_classifies_as_itself(signature: Signature, tmp_path: Path):
    log = tmp_path / "worker.log"
    log.write_text(signature.example, encoding="utf-8")
    scan = scan_log(log)
    found = scan.proved or scan.cause
    assert found is not None
    assert found.signature.id == signature.id
    assert classify(log, exit_code=1).failure_class == signature.failure_class


@each_signature
def test_example_between_other_lines_gives_the_same_line(signature: Signature):
    example = signature.example.split("\n")
    alone = classify(example, exit_code=1)
    between = classify(["loading", *example, "", "bye"], exit_code=1)
    assert alone.evidence.line is not None
    assert between.evidence.line == alone.evidence.line + 1
    assert between.root_cause == alone.root_cause == example[alone.evidence.line - 1]


@each_signature
def test_every_placeholder_of_the_hint_is_a_fact_of_the_example(signature: Signature):
    failure = classify(signature.example.split("\n"), exit_code=1)
    advice_only = failure.hint == CLASSES[failure.failure_class].advice
    assert advice_only is (signature.hint == "")
    assert "{" not in failure.hint


def test_ids_are_unique():
    ids = [signature.id for signature in SIGNATURES]
    assert len(ids) == len(set(ids))


def test_every_class_with_a_message_of_its_own_has_a_signature():
    covered = {signature.failure_class for signature in SIGNATURES}
    assert set(CLASSES) - covered == {"unknown", "success_noise"}


def test_only_the_worker_states_its_own_verdicts():
    harness = {"m_mismatch", "wrong_kernel", "no_result"}
    for signature in SIGNATURES:
        if signature.failure_class in harness:
            assert signature.pattern.startswith("^slidesparse: ")


@each_signature
def test_signature_names_a_known_class_and_is_prefiltered(signature: Signature):
    assert signature.failure_class in CLASSES
    assert signature.needles
    assert signature.tier is not Tier.PROVED


@pytest.mark.parametrize("entry", CLASSES.values(), ids=lambda entry: entry.id)
def test_class_explains_itself(entry):
    assert entry.what
    assert entry.advice.endswith(".")
    never = {Verdict.HARDWARE_LIMIT, Verdict.CONFIGURATION, Verdict.HARDWARE_FAULT, Verdict.NONE}
    assert not (entry.retryable and entry.verdict in never)


def test_documentation_shows_the_table_of_classes():
    assert classes_table() in DOCS.read_text(encoding="utf-8")
