"""Threads of torch in forked processes."""

from __future__ import annotations

import os

import torch

_IMPORTED_BY = os.getpid()


def use_one_thread_after_fork() -> None:
    """Let torch use one thread in a process that was forked after this module was imported.

    A forked process has none of the threads of its parent. If torch was used there with several threads, the first
    large operation in the forked process would wait for them without end. Spawned processes are not affected.
    """
    if os.getpid() != _IMPORTED_BY and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
