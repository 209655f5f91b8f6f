"""Call `train` with the keyword arguments of a JSON file: what the command line does, for tests under torchrun.

Usage: torchrun train_once.py ARGUMENTS.json [KILL_AFTER_STEP]
"""

import json
import os
import signal
import sys
from pathlib import Path

from lorebridge.train import loop

arguments = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
if len(sys.argv) > 2:
    update, last = loop.Trainer.update, int(sys.argv[2])

    def update_or_die(trainer):
        if trainer.done == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(trainer)

    loop.Trainer.update = update_or_die
for name in ("order", "tokenizer", "init_from", "out", "work"):
    arguments[name] = arguments[name] and Path(arguments[name])
arguments["stores"] = {stream: Path(path) for stream, path in arguments["stores"].items()}
loop.train(**arguments)
