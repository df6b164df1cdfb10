"""What a machine that refuses something says, in words: packages, files, memory, threads, space, and what to do."""

from __future__ import annotations

import errno

from structure.cli.extras import lacking
from structure.pipeline.device import is_out_of_memory

REMEDIES = {
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), "Allow more files to be open at once, as with: ulimit -n 4096. Then run it again."
    ),
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "What was finished is saved. Make space, and run the same command again to go on.",
    ),
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM), "Name another place, or ask who owns this one for the right."
    ),
    errno.ENOMEM: "Use less memory at a time: --memory, --batch-size. Or free some, and run it again.",
}
"""Error number -> what to do."""

NO_THREAD = "can't start new thread"
"""What Python says where a process may have no more threads, or no memory for the stack of one."""


def told(error: BaseException) -> str | None:
    """What is said of an error that the machine is the cause of; None for any other."""
    if isinstance(error, ImportError):
        return lacking(error)
    if isinstance(error, RuntimeError) and NO_THREAD in str(error):
        return (
            "the system starts no more threads: the limit of memory (ulimit -v) or of processes (ulimit -u) is "
            "reached. What was finished is saved. Raise it, or pass OMP_NUM_THREADS=1 in the environment, and run the "
            "same command again."
        )
    if is_out_of_memory(error):
        return f"not enough memory: {error or 'see -vv'}. Less at a time: --memory, --batch-size."
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "")
        return f"{error.strerror or error}{where}. {remedy}{' ' if remedy else ''}Run it with -vv to see where."
    return None
