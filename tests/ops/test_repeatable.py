"""A step repeats itself to the bit under torch's strict deterministic mode; layers compile once."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import flags
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from weam_ext.common.ranks import Ranks
from weam_ext.model.families import layers_of
from weam_ext.ops.cross_entropy import linear_cross_entropy
from weam_ext.ops.repeatable import repeatable
from weam_ext.train.loop import Trainer
from weam_ext.train.optimizer import NO_MASTERS, MasterWeights, clipped_step
from weam_ext.train.run_directory import open_run
from weam_ext.train.settings import parse

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {"vocab_size": 70, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 64, "max_position_embeddings": 512}  # fmt: skip


def trained(length: int, rounded: bool) -> list[Tensor]:
    """The weights after three steps on padded batches."""
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SIZES)).to(DEVICE).train()
    masters = MasterWeights(model.parameters()) if rounded else NO_MASTERS
    weights = [masters.of(p) for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2, fused=True)
    for _ in range(3):
        ids = torch.randint(5, 70, (4, length), device=DEVICE)
        mask = torch.arange(length, device=DEVICE) < torch.tensor(
            [[length], [length - 3], [length // 2], [9]], device=DEVICE
        )
        hidden = model.bert(ids, attention_mask=mask[:, None, None, :])[0].flatten(0, 1)
        head: Any = model.cls.predictions
        ones = torch.ones(ids.numel(), device=DEVICE)
        labels = ids.flatten().masked_fill(~mask.flatten(), -100)
        rows = head.transform(hidden)
        loss = linear_cross_entropy(rows, head.decoder.weight, head.decoder.bias, labels, ones)
        loss.total.backward()  # type: ignore[no-untyped-call]
        masters.take_gradients()
        clipped_step(optimizer, 1 / ones.sum(), 1.0)
        masters.give()
    return [weight.detach().cpu() for weight in weights]


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("length", [128, 256, 512])
def test_a_step_repeats_itself(length: int, rounded: bool) -> None:
    with repeatable():
        first, second = trained(length, rounded), trained(length, rounded)
    assert all(map(torch.equal, first, second))


def test_what_is_set_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    memory: Any = torch.utils.deterministic
    attention: Any = torch.backends.cuda
    before = torch.are_deterministic_algorithms_enabled(), attention.cudnn_sdp_enabled()
    with repeatable(False):
        assert not torch.are_deterministic_algorithms_enabled()
        assert not attention.cudnn_sdp_enabled()
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with pytest.raises(ValueError), repeatable():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert not memory.fill_uninitialized_memory
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        raise ValueError
    after = torch.are_deterministic_algorithms_enabled(), attention.cudnn_sdp_enabled()
    assert after == before
    assert memory.fill_uninitialized_memory


# --------------------------------------------------------------------------------------- compiled


def test_few_graphs_are_compiled(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over batches of any length and number of links, and under the weights' own names."""
    graphs = []

    def counting(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_layer = nn.Module.compile

    def counted(layer: nn.Module, **given: Any) -> None:
        compile_layer(layer, backend=counting, **given)

    monkeypatch.setattr(nn.Module, "compile", counted)
    torch._dynamo.reset()
    given = {"compile": True, "batch_tokens": 200}
    settings = parse(flags(inputs, tmp_path / "run", **given))
    trainer = Trainer(settings, *open_run(settings), Ranks())
    names = set(trainer.model.state_dict())
    shapes = set()
    for _ in range(16):
        _, requests = trainer.train_step()
        shapes |= {(request.padded, request.sequences) for request in requests}
    assert len(shapes) > 6
    assert 1 <= len(graphs) <= 3
    assert not [name for name in names if "_orig_mod" in name]
    assert layers_of(trainer.objective.predictor.encoder.module)
    torch._dynamo.reset()
