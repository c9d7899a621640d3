"""`make benchmark`: its clock, and a run of it on a volume of two slices."""

from __future__ import annotations

import time

from meddenoise.catalogue import shipped_models
from tools.benchmark.speed import NON_LOCAL_MEANS, speed_table
from tools.benchmark.timing import median_seconds


def test_first_turn_does_not_count_and_runs_take_turns() -> None:
    order = []

    def slow_at_first() -> None:
        order.append("a")
        time.sleep(0.5 if len(order) == 1 else 0.01)

    seconds = median_seconds({"a": slow_at_first, "b": lambda: order.append("b")}, repeats=2)
    assert order == ["a", "b"] * 3
    assert 0.01 <= seconds["a"] < 0.5
    assert seconds["b"] < seconds["a"]


def test_every_model_and_what_it_is_compared_with_has_a_row() -> None:
    rows = {line.split("|")[1].strip(): line for line in speed_table(slices=2, repeats=1).splitlines()[2:]}
    assert NON_LOCAL_MEANS in rows
    for model in shipped_models():
        assert "of the bare network's time" in rows[f"{model.title}, float32: engine"]
        assert "of the processor's best 3 x 3 convolution" in rows[f"{model.title}, float32: bare network"]
        assert any(name.startswith(model.title) and name.endswith("warm worker") for name in rows)
