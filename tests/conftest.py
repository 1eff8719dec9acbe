"""Before any test module is imported: no network, no chatter, one thread."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import torch

torch.set_num_threads(1)
