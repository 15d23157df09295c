"""What many nodes say, in a list that a person reads."""

from typing import Any

from roheletd.cli.tables import Style
from roheletd.cli.verdicts import LINES_MAX, summary, verdict_table

WIDE = Style()


def fits(node: str, score: float = 0.5) -> dict[str, Any]:
    return {"node": node, "score": score, "terms": {"cpu": score}}


def refuses(node: str, **refusals: str) -> dict[str, Any]:
    return {"node": node, "refusals": refusals}


def lines(verdicts: list[dict[str, Any]], *, here: str = "") -> list[str]:
    return verdict_table(verdicts, WIDE, here=here)[1:]


def test_few_nodes_have_a_line_each_and_the_best_is_first() -> None:
    said = lines([refuses("a", cpu="no"), fits("b", 0.2), fits("c", 0.9)])
    assert [line.split()[0] for line in said] == ["c", "b", "a"]


def test_many_nodes_that_say_the_same_are_one_line() -> None:
    lost = [refuses(f"n{at}", alive="is lost") for at in range(30)]
    (said,) = lines(lost)
    assert " ".join(said.split()) == "30 nodes refuse is lost (n0, n1, n2 and 27 more)"


def test_where_each_says_another_number_they_are_grouped_by_what_they_lack() -> None:
    short = [refuses(f"n{at}", cpu=f"needs 1000 millicores, {at} are free") for at in range(30)]
    (said,) = lines(short)
    assert "needs 1000 millicores ... (n0, n1, n2 and 27 more)" in said


def test_no_list_is_longer_than_a_screen() -> None:
    names = [f"filter{at}" for at in range(60)]
    every = [refuses(f"n{at}", **{name: f"lacks {at}"}) for at, name in enumerate(names)]
    said = lines([*every, *(fits(f"f{at}") for at in range(50))])
    assert len(said) <= LINES_MAX + 1
    assert said[-1].endswith("more that refuse: `--output json` shows all")
    told = LINES_MAX - 6
    assert said[-1].startswith(f"and {60 - told} more")


def test_where_it_is_now_is_marked_and_shown_among_any_number_of_nodes() -> None:
    said = lines([fits(f"n{at:02}", 0.9 - at / 100) for at in range(50)], here="n40")
    assert any(line.startswith("n40 (here)") for line in said)


def test_the_summary_counts_what_is_lacking_in_words() -> None:
    assert summary([]) == "there is no node"
    assert summary([refuses("a", cpu="no", memory="no")]) == "the node lacks CPU, lacks memory"
    said = summary([refuses("a", cpu="no"), refuses("b", cpu="no", alive="is lost")])
    assert said == "none of 2 nodes takes it: 2 lack CPU, 1 is not alive"
    assert summary([fits("a"), refuses("b", cpu="no")]) == "1 of 2 nodes takes it"
    assert summary([refuses("a", novel="no"), refuses("b", novel="no")]).endswith(
        "2 refuse (novel)"
    )
