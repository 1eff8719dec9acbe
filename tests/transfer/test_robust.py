"""Robust fine-tuning: perturbed embeddings and distorted copies."""

from pathlib import Path

import pytest
import torch
from transfer_files import run

from weam_ext.transfer.families.classification import NLI, Classification
from weam_ext.transfer.finetune import FineTuning, Plan, Setting
from weam_ext.transfer.tasks import Recipe


@pytest.mark.parametrize("way", ["random", "adversarial", "augment"])
def test_robust_fine_tuning(way: str, encoder: Path, data: Path, tmp_path: Path) -> None:
    plain = run(encoder, data, tmp_path / "plain", "--tasks", "stsb")
    robust = run(encoder, data, tmp_path / "robust", "--tasks", "stsb", "--fine-tuning", way)
    assert robust[0].cell.options["fine_tuning"] == way
    assert plain[0].predictions != robust[0].predictions


def test_perturbations_are_as_long_as_they_are_to_be(encoder: Path, tmp_path: Path) -> None:
    plan = Plan(Setting("zero-shot"), Recipe(max_length=32), "en", 0, way="adversarial")
    tuning = FineTuning(encoder, Classification(NLI), plan, tmp_path)
    trainer = tuning._trainer([], 1, [])
    direction, embeddings = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    scaled = trainer._scaled(direction, embeddings)
    torch.testing.assert_close(scaled.norm(dim=-1), 0.1 * embeddings.norm(dim=-1))
    assert not trainer._scaled(torch.zeros(1, 1, 16), embeddings[:1, :1]).isnan().any()
