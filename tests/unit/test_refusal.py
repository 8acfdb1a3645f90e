"""How a refusal reads in a terminal: in brief while a build runs, in full below its tables."""

from __future__ import annotations

import pytest

from converters.judging import refuse_different
from converters.refusal import Refused, clauses, left_out


class _Different:
    def __init__(self, *problems: str) -> None:
        self._problems = list(problems)

    def problems(self) -> list[str]:
        return self._problems


def test_in_brief_two_limits_of_one_runtime_are_named_and_the_others_counted() -> None:
    missed = _Different("rank .91, at least .99", "AUC-PR changes by .2, at most .01", "maps .5, at least .97")
    with pytest.raises(Refused) as refused:
        refuse_different("int8", {"litert": missed, "tflite": missed})
    assert refused.value.brief() == "rank .91, at least .99; AUC-PR changes by .2, at most .01; and 1 more"
    assert str(refused.value).count("(tflite)") == 3  # in full nothing is left out


def test_a_refusal_without_limits_is_brief_by_itself() -> None:
    assert Refused("too few normal frames").brief() == "too few normal frames"


def test_in_full_each_clause_has_a_line() -> None:
    reason = "; ".join(f"limit {number} is missed by far, {'very ' * 12}far" for number in range(4)) + "; ship float32"
    lines = list(left_out({"int8": reason}, {}))
    assert [line[:11] for line in lines[1:]] == ["int8 refuse", *(f"  limit {n} i" for n in (1, 2, 3)), "  ship floa"]


def test_a_short_reason_stays_a_line() -> None:
    assert list(clauses("no such run; train one first")) == ["no such run; train one first"]
