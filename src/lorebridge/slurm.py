"""Whether SLURM tells how jobs end, looked at before the first is submitted."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import Any

from lorebridge.errors import LorebridgeError


def refuse_silent_sacct(settings: Any) -> None:
    """Refuse to start where Snakemake would ask for the state of its jobs by a ``sacct`` that fails.

    Its executor takes a failing query for one that will work later and says so in debug messages alone: a job that has
    ended is waited for without end.

    Args:
        settings: of Snakemake's executor; of another one than SLURM's nothing is asked.

    Raises:
        LorebridgeError: says what ``sacct`` says, and what to do.
    """
    if not type(settings).__module__.startswith("snakemake_executor_plugin_slurm"):
        return
    from snakemake_executor_plugin_slurm.job_status_query import get_min_job_age, query_job_status_sacct

    if shutil.which("sacct") is None:
        return  # the executor asks squeue
    mend = "Where there is no accounting, set `slurm-status-command: squeue` in the profile"
    if settings.status_command == "squeue":
        # As the executor decides: squeue must still know a job when it is next asked for.
        needed, age = 3 * settings.init_seconds_before_status_checks, get_min_job_age()
        if age is not None and age >= needed:
            return
        mend = (
            f"The profile says squeue, but the executor takes sacct because MinJobAge is {age} s and not {needed}: "
            "lower `slurm-init-seconds-before-status-checks`"
        )
    try:
        asked = subprocess.run(
            shlex.split(query_job_status_sacct("lorebridge")), capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        said = "no answer in a minute"
    else:
        if asked.returncode == 0:
            return
        said = " ".join(asked.stderr.split()) or f"exit status {asked.returncode}"
    raise LorebridgeError(
        f"sacct fails ({said}), and Snakemake would wait for ever for jobs that have ended. {mend}; else have SLURM's "
        "accounting mended, and start again."
    )
