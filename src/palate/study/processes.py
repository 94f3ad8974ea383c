"""Independent tasks on one data set, in this process or in several that load it once each."""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import torch

from palate.core.errors import Interrupted, PalateError, TrainingError
from palate.core.progress import progress
from palate.dataset.dataset import Dataset
from palate.study.data_plan import DataPlan

T = TypeVar("T")
_held: dict[str, Dataset] = {}


def run_tasks(
    tasks: Sequence[T],
    work: Callable[[Dataset, T], None],
    plan: DataPlan,
    dataset: Dataset,
    *,
    jobs: int,
    title: str,
    quiet: bool = False,
) -> dict[int, str]:
    """Do every task; one that ends in an error, or without memory, is noted and the others go on.

    Args:
        tasks: what `work` is called with; picklable.
        work: a function of a module; keeps its results in files.
        plan, dataset: the data: how other processes make them, and as this process has them.
        jobs: processes, which share the CPU's cores.
        title: of the progress.

    Returns:
        The place of each task that failed, and why.

    Raises:
        Interrupted: on Ctrl-C.
        TrainingError: when a process died (out of memory, killed).
    """
    failed: dict[int, str] = {}
    with progress(title, len(tasks), "runs", quiet=quiet or not tasks) as shown:
        if jobs == 1:
            for place, task in enumerate(tasks):
                problem = _problem(work, dataset, task)
                if problem:
                    failed[place] = problem
                    shown.say(f"failed: {task}: {problem}")
                shown.advance(1)
            return failed
        with _pool(plan, jobs) as pool:
            places = {pool.submit(_do, work, task): place for place, task in enumerate(tasks)}
            try:
                for future in as_completed(places):
                    problem = future.result()
                    if problem:
                        failed[places[future]] = problem
                        shown.say(f"failed: {tasks[places[future]]}: {problem}")
                    shown.advance(1)
            except (KeyboardInterrupt, Interrupted):
                raise Interrupted("stopped; what was finished is kept", do="run the same command again") from None
            except BrokenProcessPool:
                raise TrainingError(
                    "a process ended before its task was done (killed, or out of memory)",
                    do="run the same command again, with fewer --jobs",
                ) from None
            finally:
                # On any other error too nothing more is begun.
                pool.shutdown(wait=True, cancel_futures=True)
    return failed


def _pool(plan: DataPlan, jobs: int) -> ProcessPoolExecutor:
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_load, initargs=(plan, threads))


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended.

    Else the children of a killed command would go on, beside those of the same command given again.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        # Nothing is tidied up: what is stored is written whole or not at all.
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _load(plan: DataPlan, threads: int) -> None:
    end_with_parent()
    torch.set_num_threads(threads)
    _held["data"] = plan.load()


def _do(work: Callable[[Dataset, T], None], task: T) -> str:
    return _problem(work, _held["data"], task)


def _problem(work: Callable[[Dataset, T], None], dataset: Dataset, task: T) -> str:
    """Why a task failed, where that says nothing about the others; empty when it did not."""
    try:
        work(dataset, task)
    except Interrupted:
        raise
    except PalateError as error:
        return str(error)
    except MemoryError as error:
        return f"out of memory: {error}".rstrip(": ")
    except RuntimeError as error:
        # PyTorch has no error of its own for the CPU's memory.
        if "memory" not in str(error).lower():
            return _named(error)
        return f"out of memory: {error}"
    except Exception as error:
        # A model's own mistake, or one of ours, must not cost the others their runs.
        return _named(error)
    return ""


def _named(error: Exception) -> str:
    """An unforeseen error and where it came up: in a file from outside, where one was at work."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = {Path(__file__).parents[1], Path(torch.__file__).parent}
    outside = [frame for frame in frames if not inside & set(Path(frame.filename).parents)]
    frame = (outside or frames)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
