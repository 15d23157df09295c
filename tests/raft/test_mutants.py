"""Whether the simulator would notice: each planted defect is found, where it was found before."""

import pytest

from tests.raft.mutants import MUTANTS, QUICK_SEEDS, hunt, is_clean, patched


def test_every_defect_can_still_be_planted() -> None:
    for mutant in MUTANTS:
        compile(patched(mutant), mutant.module, "exec")


def test_there_are_many_defects_and_each_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 15


@pytest.mark.timeout(300)
def test_every_defect_is_found() -> None:
    assert is_clean(seeds=QUICK_SEEDS // 10)
    survivors = hunt(MUTANTS, seeds=QUICK_SEEDS, jobs=2)
    assert [mutant.name for mutant in survivors] == []
