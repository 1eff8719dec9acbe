"""One thread: the tensors are small, and a busy core would be timed instead."""

import torch

torch.set_num_threads(1)
