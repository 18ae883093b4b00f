"""`scripts/compare_tokens.py`: what counts as agreement."""

from __future__ import annotations

import pytest
from script_files import load_script


@pytest.fixture(scope="module")
def script():
    return load_script("compare_tokens")


def test_ties_are_no_part_of_the_agreement(script):
    a = {"tokens": [1, 2, 3, 4], "logits": [[9.0, 1.0], [9.0, 9.0], [9.0, 1.0], [9.0, 1.0]]}
    b = {"tokens": [1, 7, 3, 5]}
    assert script.tied(a) == {1}
    assert script.agreement(a, b, set()) == 1 / 2
    assert script.agreement(a, b, script.tied(a)) == 2 / 3


def test_positions_that_are_all_ties_end_with_advice(script):
    same = {"tokens": [1, 2]}
    with pytest.raises(SystemExit, match="all 2 positions are ties; ask for more"):
        script.agreement(same, same, {0, 1})
