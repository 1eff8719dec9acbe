"""The aligner's models by name, to which a package of one's own can add: see `AlignerModel`."""

from weam_ext.align.encoder import EncoderModel, Hybrid
from weam_ext.align.fast_align import FastAlign
from weam_ext.align.hmm import Hmm
from weam_ext.align.model import AlignerModel
from weam_ext.common.errors import InputError
from weam_ext.common.registry import Registry

MODELS: Registry[type[AlignerModel]] = Registry("aligner_models")
MODELS.add("hmm")(Hmm)
MODELS.add("fast-align")(FastAlign)
MODELS.add("hybrid")(Hybrid)
MODELS.add("encoder")(EncoderModel)


def checked_model(name: object) -> str:
    """The name of a model; raises `InputError` for another."""
    if not isinstance(name, str) or name not in MODELS:
        raise InputError(f"model must be one of {', '.join(MODELS)}")
    return name


def checked_heuristic(model: str, heuristic: str | None) -> str:
    """One of a model's heuristics, or of None its default; raises `InputError`."""
    if heuristic is None:
        return MODELS[model].HEURISTIC
    names = MODELS[model].HEURISTICS
    if not isinstance(heuristic, str) or heuristic not in names:
        raise InputError(f"unknown heuristic {heuristic!r}; there are {', '.join(names)}")
    return heuristic
