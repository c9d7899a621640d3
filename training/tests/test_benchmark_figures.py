"""How figures become means, intervals and verdicts: by patient, by place, by strength, against their targets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from meddenoise.metrics import Interval, noise_power
from meddenoise_training.benchmark import tasks
from meddenoise_training.benchmark.cases import Case, patient_cases
from meddenoise_training.benchmark.methods import Method, input_itself
from meddenoise_training.benchmark.observers import texture
from meddenoise_training.benchmark.phantoms import PIXEL_MM, TISSUE_HU, patient_places
from meddenoise_training.benchmark.store import Store
from meddenoise_training.benchmark.summary import Source
from meddenoise_training.benchmark.targets import Measured, _texture, _transfer, figures_to_reach
from meddenoise_training.benchmark.tasks import Effort, measure_tasks
from meddenoise_training.manifest import read_manifest


def ours(strength: float = 1.0) -> Method:
    return Method("net", "ours", "1", lambda noisy, pixel: noisy.image, (0.5, 1.0), strength)


def test_each_patient_counts_once_however_many_slices():
    """Two slices of one patient, 10 and 20, one of another, 35: 15 and 35, in the mean 25; of slices it were 21.7."""
    rows = [
        {"patient": patient, "case": case, "strengths": {"1": {"psnr": value}}}
        for patient, case, value in (("a", "a 1", 10.0), ("a", "a 2", 20.0), ("b", "b 1", 35.0))
    ]
    source = Source({"white 25": {"net": rows}}, [ours()])
    assert source.by_patient("white 25", "net", "psnr") == {"a": 15, "b": 35}
    assert source.mean("white 25", "net", "psnr") == 25
    assert source.group_mean(["white 25"], "net", "psnr") == Interval(25, 15, 35), (
        "two patients drawn, not three slices"
    )


def test_patients_slices_are_of_their_cleaner_half(prepared):
    own = sorted(e.noise_sd for e in read_manifest(prepared).splits["test"] if e.kind == "ct")
    assert len(set(own)) == 3
    assert sorted(c.own_sd for c in patient_cases(prepared, "test", 3)) == own[:2]


@pytest.fixture(scope="module")
def measured_tasks(tmp_path_factory):
    """Return the tasks of the input and of a filter that erases lesions and noise; which places observers were told."""
    j, i = np.mgrid[:160, :160] - 79.5
    disc = np.where(np.hypot(j, i) < 76, 50, -1000).astype(np.float32)
    cases = [Case(f"slice {k}", "patient", PIXEL_MM, np.roll(disc, k, 0), 12.0, False, {}) for k in range(2)]

    def erase(noisy, _):
        has_discs = (noisy.image > 600).any()  # without them there were no transfer function
        return noisy.image if has_discs else np.full_like(noisy.image, TISSUE_HU)

    erasing = Method("erasing", "ours", "1", erase, (0.5, 1.0))
    told, figures = [], tasks.lesion_figures

    def watched(rois, kinds, places, pixel):
        told.append(list(places))
        return figures(rois, kinds, places, pixel)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "lesion_figures", watched)
        store, effort = Store(tmp_path_factory.mktemp("tasks"), {}), Effort(discs=1, uniform=10, patient=2)
        found = measure_tasks(cases, [input_itself(), erasing], store, lambda _: None, effort=effort, views=24)
    return found, told, [len(patient_places(case)) for case in cases]


def test_observers_know_which_regions_share_noise_or_background(measured_tasks):
    """Regions of one image of the cylinder share its noise; of patients those of one place, in all their images."""
    _, (uniform, patient, *_), (first, second) = measured_tasks
    assert uniform == [image for image in range(10) for _ in range(16)]
    assert min(first, second) >= 4
    assert patient == [*range(first)] * 2 + [*range(first, first + second)] * 2


def test_lesions_and_texture_are_seen_at_each_strength(measured_tasks):
    """At half of its strength an eraser leaves half of everything: half of the noise, and lesions as well seen."""
    uniform = measured_tasks[0]["uniform"]
    before, half, whole = uniform["input"]["1"], uniform["erasing"]["0.5"], uniform["erasing"]["1"]
    assert half["texture"]["sd"] == pytest.approx(before["texture"]["sd"] / 2, rel=1e-3)
    assert half["texture"]["shift"][0] == pytest.approx(0, abs=1e-3)
    assert whole["texture"]["sd"] == pytest.approx(0, abs=1e-3)
    seen, kept, lost = (part["lesions"]["5 mm, 100 HU"]["cho"]["auc"][0] for part in (before, half, whole))
    assert seen > 0.9
    assert (kept, lost) == pytest.approx((seen, 0.5), abs=0.01)


def test_coarser_noise_has_a_negative_shift():
    before = np.random.default_rng(0).normal(0, 20, (40, 43, 43)).astype(np.float32)
    coarser = ndimage.gaussian_filter(before, (0, 1, 1))
    own, base = (noise_power(images, (PIXEL_MM, PIXEL_MM)).mean_frequency for images in (coarser, before))
    shift, low, high = texture(coarser, before, PIXEL_MM)["shift"]
    assert shift == pytest.approx(own / base - 1)
    assert low < shift < high < -0.3


def with_tasks(**found) -> Measured:
    nothing = Source({}, [ours()])
    return Measured(nothing, nothing, {"discs": {}, "uniform": {}, "patient": {}, **found}, {}, [ours()])


@pytest.mark.parametrize(
    ("ratios", "reached"),
    [((0.95, 0.98, 0.99), True), ((0.94, 1, 1), False), ((1, 0.97, 1), False), ((1, 1, 0.98), False)],
)
def test_each_contrast_is_to_keep_its_share_of_the_transfer_function(ratios, reached):
    """By the value, not by the upper end of its interval, and at the strength that is shown."""
    found = {c: {"ratio": [r, r - 0.1, r + 0.1]} for c, r in zip(("30", "100", "900"), ratios, strict=True)}
    opposite = {c: {"ratio": [0.5 if reached else 1.0, 0, 1]} for c in found}
    row = _transfer(ours(0.5), with_tasks(discs={"net": {"0.5": found, "1": opposite}}))
    assert row.reached is reached


@pytest.mark.parametrize(("shift", "reached"), [(-0.15, True), (0.15, True), (-0.17, False), (0.17, False)])
def test_texture_is_to_stay_within_16_percent_either_way(shift, reached):
    def part(value: float) -> dict:
        return {"texture": {"shift": [value, value - 0.1, value + 0.1]}}

    found = with_tasks(uniform={"net": {"0.5": part(shift), "1": part(0.5 if reached else 0.0)}})
    assert _texture(ours(0.5), found, at_default=True).reached is reached
    assert _texture(ours(0.5), found, at_default=False).reached is None, "it is only reported"


@pytest.mark.parametrize(("more", "reached"), [(0.05, True), (-0.05, False)])
def test_gains_are_judged_by_their_means(more, reached):
    """Each mean lies just above or below its target, and of two patients one far above, the other far below."""

    def rows(psnr: float, removed: float) -> list[dict]:
        return [
            {
                "patient": patient,
                "strengths": {
                    "1": {
                        **{"psnr": psnr + apart, "ssim": 0.9, "rmse_body": 9.0, "bias": {}, "pattern": 0.0},
                        **{"sd_before": 100.0, "sd_after": 100 * (1 - removed - apart / 10)},
                    }
                },
            }
            for patient, apart in (("a", 2.0 * (removed > 0)), ("b", -2.0 * (removed > 0)))
        ]

    groups = {"input": "input", "filter": "classical", "network": "baseline", "net": "ours"}
    methods = [Method(n, g, "1", lambda noisy, pixel: noisy.image) for n, g in groups.items()]  # type: ignore[arg-type]

    def table(over_filter: float, over_network: float, over_input: float) -> dict:
        gains = {"input": over_input, "filter": over_filter, "network": over_network}
        found = {name: rows(30 - gain - more, 0) for name, gain in gains.items()}
        return {**found, "net": rows(30, 0.45 + more)}

    conditions = {"dose 25 % smooth": 1.6, "dose 25 % sharp": 1.2, "white 25": 0.0}
    source = Source({name: table(least, 0.2, 7.1) for name, least in conditions.items()}, methods)
    nothing = {"discs": {}, "uniform": {}, "patient": {}}
    found = figures_to_reach(methods[3], Measured(source, source, nothing, {}, methods))
    judged = {row.figure: row for row in found if row.target.endswith(" dB") or row.target == ">= 45 %"}
    del judged["noise-free input left alone: PSNR to itself"]
    assert len(judged) == 6
    assert {row.reached for row in judged.values()} == {reached}, judged
