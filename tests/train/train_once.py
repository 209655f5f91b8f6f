"""Call `train` with the keyword arguments of a JSON file: what the command line does, for tests under torchrun.

Usage: torchrun train_once.py ARGUMENTS.json [STEP SIGNAL [launcher]]: when STEP updates are done, process 0 sends
SIGNAL to itself, or to the launcher above it.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from lorebridge.train import loop

arguments = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
if len(sys.argv) > 2:
    update, last, number = loop.Trainer.update, int(sys.argv[2]), signal.Signals[sys.argv[3]]

    def update_and_signal(trainer):
        result = update(trainer)
        if trainer.done == last and trainer.processes.first:
            if sys.argv[4:] == ["launcher"]:
                os.kill(os.getppid(), number)
                time.sleep(3)  # the run has few steps, and the signal comes by way of the launcher
            else:
                os.kill(os.getpid(), number)
        return result

    loop.Trainer.update = update_and_signal
for name in ("order", "tokenizer", "out", "work"):
    arguments[name] = Path(arguments[name])
arguments["stores"] = {stream: Path(path) for stream, path in arguments["stores"].items()}
loop.train(**arguments)
