"""Ctrl-C ends a run, even if a library swallows KeyboardInterrupt."""

from __future__ import annotations

import signal
import threading

import pytest

from pipeline import interrupts


@pytest.fixture(autouse=True)
def _python_handles_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class _InterruptedDestructor:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_swallowed_interrupt_is_raised_later() -> None:
    with interrupts.remembered() as raise_if_pressed:
        raise_if_pressed()
        _InterruptedDestructor()  # Python drops the exception
        with pytest.raises(KeyboardInterrupt):
            raise_if_pressed()


def test_an_interrupt_is_raised_at_once_too() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts.remembered():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_interrupt_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts.remembered() as raise_if_pressed:
        signal.raise_signal(signal.SIGINT)
        raise_if_pressed()


def test_another_thread_may_run_a_pipeline() -> None:
    done = []

    def work() -> None:
        with interrupts.remembered() as raise_if_pressed:
            raise_if_pressed()
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
