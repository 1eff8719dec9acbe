"""A training run that waits for SIGTERM after STEP steps: `python waiting.py STEP FLAG ...`.

So a signal falls between the same two steps on machines of any speed.
"""

import signal
import sys
import time
from typing import Any

from weam_ext.train import loop as train


def main() -> None:
    step, *flags = sys.argv[1:]
    train_step = train.Trainer.train_step

    def waiting(trainer: train.Trainer) -> Any:
        # The first signal is noted, and gives the second back what it does by default.
        while trainer.step == int(step) and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            time.sleep(0.01)
        return train_step(trainer)

    train.Trainer.train_step = waiting
    train.main(flags)


if __name__ == "__main__":
    main()
