"""Begin workers as a run does and print what each has cost by its first task: `begin_workers.py DATA OUT JOBS`.

Run by `benchmarks.starting` against this build and a former one, whose modules have the same names.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


def spent(*_: Any) -> tuple[float, float]:
    """Processor seconds of this process, and of the one that it is a copy of, or 0."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    parent, ticks = os.getppid(), os.sysconf("SC_CLK_TCK")
    # No worker may be done before all are begun.
    time.sleep(1)
    if b"forkserver" not in Path(f"/proc/{parent}/cmdline").read_bytes():
        return own.ru_utime + own.ru_stime, 0.0
    fields = Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()
    return own.ru_utime + own.ru_stime, (int(fields[11]) + int(fields[12])) / ticks


def main(data: str, out: str, jobs: str) -> None:
    # Not at the top, which workers read too.
    from omnial_bench.config.load import read_plan
    from omnial_bench.pipeline.executor import PRELOAD
    from omnial_bench.pipeline.plan import Settings
    from omnial_bench.pipeline.workspace import Workspace
    from omnial_bench.processes import crew

    settings, count = Settings(data=Path(data), out=Path(out), device="cpu"), int(jobs)
    with crew(Workspace, (read_plan("demo"), settings), count, lambda _: None, preload=PRELOAD) as each:
        found = each(spent, list(range(count)))
    sys.stdout.write(json.dumps({"workers": [own for own, _ in found], "server": max(server for _, server in found)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
