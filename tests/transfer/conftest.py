"""What the evaluations of several modules read."""

from pathlib import Path

import pytest
from transfer_files import save_encoder, small_data, write_encoders


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three encoders and three bitexts."""
    return write_encoders(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a random encoder."""
    return save_encoder(tmp_path_factory.mktemp("encoder") / "a")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fine-tuned family in little."""
    return small_data(tmp_path_factory.mktemp("data"))
