"""Figures that a user watches: MFU, reports elsewhere, the sentence about the grace."""

import json

import pytest

from berth_trainer.config.settings import ReportSettings
from berth_trainer.errors import UserError
from berth_trainer.model.gpu_flops import bf16_peak, share_of_peak
from berth_trainer.training import reports
from berth_trainer.training.shutdown_deadline import left_for_saving, saving_forecast


@pytest.mark.parametrize(
    ("card", "tflops"),
    [
        ("NVIDIA H200", 989.4),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("Quadro T1000", None),
    ],
)
def test_the_peak_goes_by_the_gpus_name(card, tflops):
    """A longer name is not taken for its beginning; an unknown GPU has no share."""
    peak = bf16_peak(card)

    assert peak == (None if tflops is None else pytest.approx(tflops * 1e12))


def test_the_share_counts_six_flop_a_parameter_and_token():
    """Four and a little with an adapter, whose gradients alone are computed."""
    whole = share_of_peak(1000, parameters=10**9, trained=10**9, peak=1e13, gpus=2)
    adapter = share_of_peak(1000, parameters=10**9, trained=10**7, peak=1e13, gpus=2)

    assert whole == pytest.approx(6 * 10**12 / 2e13)
    assert adapter == pytest.approx(4.02 * 10**12 / 2e13)


@pytest.mark.parametrize(
    ("settings", "package"),
    [(ReportSettings(tensorboard=True), "tensorboard"), (ReportSettings(wandb="offline"), "wandb")],
)
def test_a_missing_package_is_one_sentence(monkeypatch, tmp_path, settings, package):
    """It names the key and what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(UserError, match=rf"report\.{package} needs .*pip install {package}"):
        reports.prepare(settings, {}, tmp_path, run="r")


def test_reports_lie_in_the_output_folder(monkeypatch, tmp_path):
    """And W&B stays offline where it was asked to; the user's own variables win."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    given = {"WANDB_PROJECT": "mine"}

    wanted = reports.prepare(
        ReportSettings(tensorboard=True, wandb="offline"), given, tmp_path, run="context_only"
    )

    assert wanted == ["tensorboard", "wandb"]
    assert given == {
        "TENSORBOARD_LOGGING_DIR": str(tmp_path / "tensorboard"),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "WANDB_PROJECT": "mine",
        "WANDB_NAME": "context_only",
    }
    assert reports.prepare(ReportSettings(), given, tmp_path, run="r") == []


@pytest.mark.parametrize(
    ("stop", "variables", "warned", "expected"),
    [
        ({"grace_s": 20}, {"BERTH_GRACE_S": "60"}, False, 15),
        (None, {"BERTH_GRACE_S": "60"}, False, 55),
        (None, {"BERTH_GRACE_S": "60", "BERTH_WARN_BEFORE_S": "300"}, True, 295),
        ({}, {}, False, None),
        (None, {"BERTH_GRACE_S": "long"}, False, None),
    ],
)
def test_the_grace_is_what_the_queue_gives(tmp_path, stop, variables, warned, expected):
    """That of this very stop before the job's own; nothing where no one says."""
    if stop is not None:
        (tmp_path / "stop.json").write_text(json.dumps(stop))
    inside = {"BERTH_RUN_DIR": str(tmp_path), **variables}

    assert left_for_saving(inside, waited_s=5, warned=warned) == expected
    assert left_for_saving({}, waited_s=5, warned=warned) is None


@pytest.mark.parametrize(
    ("last", "left", "said"),
    [
        (4.0, 50.0, "the last one took 4 s and 50 s are left"),
        (90.0, 50.0, "90 s and only 50 s are left: it may be cut short"),
        (None, 50.0, "50 s are left; no checkpoint has been saved yet"),
        (4.0, None, ""),
    ],
)
def test_what_will_not_fit_is_said(last, left, said):
    """From how long the last saving took."""
    assert said in saving_forecast(last, left)
