"""Run `lorebridge judge` with small batches; be killed, as by a scheduler, before a batch that the first argument
counts."""

import os
import signal
import sys

from lorebridge import cli
from lorebridge.trace import llm


def main() -> int:
    die_before, *arguments = sys.argv[1:]
    answer, batches = llm.Engine.answer, []

    def counted(self, prompts):
        batches.append(len(prompts))
        if len(batches) == int(die_before):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(self, prompts)

    llm.BATCH, llm.Engine.answer = 8, counted
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
