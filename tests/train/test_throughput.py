"""How fast a run is: operations by hand, means since the last reading, steps that broke."""

import math
from typing import Any

import pytest
import torch
from runs import SMALL
from small_tokenizers import tokenizer

from weam_ext.data.loader import Request
from weam_ext.data.sampler import Place
from weam_ext.model.loading import new_model
from weam_ext.model.sums import Ratio, Sums
from weam_ext.train.objectives import MLM, Masking
from weam_ext.train.throughput import NORM, Flops, Meter, Speed

CPU = torch.device("cpu")


def objective() -> Any:
    made = tokenizer("WordPiece")
    model = new_model(SMALL, made, 128, 0)
    return MLM(model, Masking.of(made, device=CPU, seed=0, probability=0.3))


def sums(loss: float, norm: float = 1.0, masked: float = 4.0) -> Sums:
    one = torch.tensor(1.0)
    return Sums(torch.tensor(loss), one, torch.tensor(0), {NORM: Ratio(torch.tensor(norm), one)},
                {"masked": torch.tensor(masked)})  # fmt: skip


def request(*samples: int, padded: int = 16) -> Request:
    members = [(sample, 0) for sample in samples]
    return Request(members, Place(), tokens=8, used=12, padded=padded, sequences=2)


def test_operations_by_hand() -> None:
    """A layer of 4 matrices [16, 16] and 2 of [16, 32]; scores and their sums take 12 L H each."""
    counted = objective()
    vocabulary = counted.predictor.output_size[0]
    a_row = 6 * 16 * (vocabulary + 16)
    flops = Flops(counted, CPU, 2.0)
    assert flops.peak == 2e12 and Flops(counted, CPU, None).peak is None
    assert flops.of(100, 4, 3) == 100 * (6 * 2048 + 12 * 16 * 25) + 3 * a_row
    for parameter in counted.predictor.encoder.module.encoder.parameters():
        parameter.requires_grad = False
    assert Flops(counted, CPU, None).of(100, 4, 0) == 100 * (2 * 2048 + 12 * 16 * 25)


def test_means_and_speed_since_the_last_reading() -> None:
    meter = Meter(Flops(objective(), CPU, 1e-6), step=10, processes=2)
    meter.pause(-100)  # a hundred seconds ago
    meter.add(sums(1.0), [request(1)])
    meter.add(sums(3.0, masked=2.0), [request(2), request(3)])
    assert meter.broken(12) is None
    means, speed = meter.read(12, 20, waited=25.0)
    assert means["loss"] == 2.0 and means["masked_share"] == 6 / 24
    assert speed.tokens_per_second == pytest.approx(24 / 100, rel=0.01)
    assert speed.padding == 0.25
    flops = Flops(objective(), CPU, 1e-6)
    work = flops.of(12, 2, 4.0) + flops.of(24, 4, 2.0)  # of what is used, not of padding
    assert speed.mfu == pytest.approx(work / (100 * 2 * 1e6), rel=0.01)
    assert speed.waiting == pytest.approx(0.25, rel=0.01)
    assert speed.seconds_left == pytest.approx(400, rel=0.01)
    meter.add(sums(5.0), [request(1)])
    assert meter.read(13, 20, 0.0)[0]["loss"] == 5.0


@pytest.mark.parametrize(
    ("loss", "norm", "what"), [(math.nan, math.inf, "loss"), (1.0, math.inf, "gradient")]
)
def test_the_first_step_that_came_to_no_number(loss: float, norm: float, what: str) -> None:
    meter = Meter(Flops(objective(), CPU, None), step=0, processes=1)
    assert meter.broken(1) is None
    for k, made in enumerate([sums(1.0), sums(loss, norm), sums(math.nan)]):
        meter.add(made, [request(k), request(10 + k)])
    found = meter.broken(7)
    assert found is not None
    assert (found.step, found.what, found.samples) == (6, what, [1, 11])
    assert not math.isfinite(found.value)


def test_a_speed_in_words() -> None:
    said = str(Speed(1234.5, 0.4321, 0.25, 0.0, 90061.0))
    assert said == "1,234 tokens/s  MFU 43.2%  padding 25.0%  waiting 0.0%  1d 01:01:01 left"
    assert "MFU" not in str(Speed(1.0, None, 0.0, 0.0, 5.0))
