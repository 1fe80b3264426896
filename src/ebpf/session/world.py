"""What programs of the machine see in this process: one world for all its sessions, with one thread that drives it.

A world begins when the first session attaches a program. Its sources (`sources`) are a traced command and a network;
they stand still until the script waits for us, or 50 ms after the last attachment. When they have ended, and the script
has read what came and waits for more (`waiting`), it gets what Ctrl-C would give it; never while it works on what it
got. Who asks `Session.ended` is told there, and not interrupted; neither is a session that asked for the machine by
name (`load(backend="machine")`), whose event streams end.

`lock` is held while a program runs and while a session reads or writes a map.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ebpf.errors import EbpfError, InternalError
from ebpf.session.lines import Lines
from ebpf.session.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ebpf.session.backend import Link
    from ebpf.session.machine_readers import _Reader
    from ebpf.session.on_machine import OnMachine
    from ebpf.session.sources import Source

_SETTLE_S = 0.05  # after the last attachment, what is traced begins
_TICK_S = 0.05  # how often a script is looked at that does not know of the end
_LOOP_S = 1.0  # a script that still sleeps between its looks so long after the end does so for ever
_FRUITLESS = 10  # a script that has waited in vain so often waits in a loop
_SLICE_S = 0.25
_NEVER = float("inf")

lock = threading.RLock()
readers: WeakSet[_Reader] = WeakSet()
_lines: Lines | None = None
_current: World | None = None
_touched = 0.0


def join(session: OnMachine) -> World:
    """The world, of which ``session`` is part from now on."""
    global _current
    with lock:
        if _current is None:
            _current = World()
        _current.sessions.append(session)
    if session.interrupts:
        _current.interrupts = True
        _end_quietly()
    return _current


def lines() -> Lines:
    """What programs print, of all sessions."""
    global _lines
    if _lines is None:
        _lines = Lines(_before_wait)
    return _lines


def touched() -> None:
    """Somebody reads a map, or events."""
    global _touched
    _touched = time.monotonic()


def ran() -> None:
    """Programs have run: readers' descriptors say whether something waits. Under `lock`."""
    for reader in list(readers):
        reader.signal()


@contextmanager
def busy() -> Iterator[None]:
    """More is to be attached: what is traced waits for it."""
    world = _current
    if world is not None:
        world.begin_at = _NEVER
    yield
    if world is not None:
        world.begin_at = time.monotonic() + _SETTLE_S


def _before_wait() -> None:
    """The script waits for us."""
    world = _current
    if world is not None and threading.current_thread() is not world.thread:
        world.waits += 1
        world.release()


Poller.before_wait = _before_wait


class Ended(KeyboardInterrupt, SystemExit):
    """What is traced has ended. Scripts catch it as they catch Ctrl-C; those that don't end quietly, with status 0."""


def _end_quietly() -> None:
    """Ctrl-C from us ends a script without a word; from the user it is what it always was."""
    import signal

    if threading.current_thread() is threading.main_thread() and \
            signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: Any) -> None:
    world = _current
    if world is not None and world.interrupted:
        world.interrupted = False
        if world.problem is not None:
            raise world.problem
        if not hasattr(sys, "ps1"):
            raise Ended
    raise KeyboardInterrupt


def _ours(error: Exception) -> EbpfError:
    import traceback

    place = traceback.extract_tb(error.__traceback__)[-1]
    return InternalError(f"{type(error).__name__} in the machine's thread: {error} "
                         f"({os.path.basename(place.filename)}:{place.lineno})")


class World:
    """See the module's text."""

    def __init__(self) -> None:
        self.sessions: list[OnMachine] = []
        self.sources: list[Source] = []
        self.thread: threading.Thread | None = None
        self.ended = False
        self.interrupts = False
        self.interrupted = False  # the signal is on its way
        self.noticed = False  # somebody has asked whether all has ended
        self.waits = 0  # how often the script has waited for us
        #: what went wrong while a program ran
        self.problem: EbpfError | OSError | None = None
        self._released = False
        self.begin_at = 0.0  #: when (time.monotonic) what is traced begins
        self._ended_at = 0.0
        self._waits_at_end = 0
        self._stirred = 0.0  # when the main thread was last seen at work
        self._closing = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        atexit.register(self.close)

    # ---- the sessions' side ----

    def attach(self, session: OnMachine, kind: str, program: str, target: Any, details: Mapping[str, Any]) -> Link:
        """Attach ``program`` to an event of the source that has such events."""
        from ebpf.session import sources

        with lock:
            source = sources.find(self, kind, target)
            link = source.attach(session, kind, program, target, details)
        self._drive_on()
        return link

    def start_command(self) -> int:
        """Let the user's command run even if nothing of it is watched; its process's number."""
        from ebpf.session import sources

        with lock:
            source = sources.find(self, "interval", None)
        self._drive_on()
        assert isinstance(source, sources.Traced)
        return source.tracer.pid

    def _drive_on(self) -> None:
        """There is something new for the thread to heed."""
        self.begin_at = time.monotonic() + _SETTLE_S
        if self.thread is None:
            self.thread = threading.Thread(target=self._drive, name="ebpf machine", daemon=True)
            self.thread.start()
        else:
            os.eventfd_write(self._wake, 1)

    def release(self) -> None:
        """What is traced begins now."""
        if not self._released and self.sources:
            self.begin_at = 0.0
            os.eventfd_write(self._wake, 1)

    def leave(self, session: OnMachine) -> None:
        """The session is over; the world with the last of them."""
        with lock:
            if session in self.sessions:
                self.sessions.remove(session)
        for source in self.sources:
            source.forget(session)
        if not self.sessions:
            self.close()

    def close(self) -> None:
        """End what is traced, and the thread."""
        global _current
        if self._closing:
            return
        self._closing = True
        atexit.unregister(self.close)
        if _current is self:
            _current = None
        if self.thread is not None and self.thread is not threading.current_thread():
            os.eventfd_write(self._wake, 1)
            self.thread.join()
        for source in self.sources:
            if self.ended and self.problem is None:
                source.tell()
            source.close()
        os.close(self._wake)

    # ---- the thread ----

    def _drive(self) -> None:
        poller = Poller()
        poller.add(self._wake, lambda: os.eventfd_read(self._wake) and 0)
        watched: set[int] = set()
        try:
            while not self._closing and not self._over():
                for source in self.sources:
                    fd = source.fileno()
                    if fd >= 0 and fd not in watched and not source.ended:
                        poller.add(fd, source.dispatch)
                        watched.add(fd)
                    elif source.ended and fd in watched:
                        poller.remove(fd)
                        watched.discard(fd)
                poller.poll(self._timeout())
                self._begin()
                for source in self.sources:
                    if source.due() <= time.monotonic():
                        source.dispatch()
                self._expire_timers()
                with lock:
                    ran()
        except Exception as error:  # whatever it is, the script must not wait for ever
            self.problem = error if isinstance(error, EbpfError | OSError) else _ours(error)
            self.ended = True
            self._interrupt()
        finally:
            poller.close()

    def _timeout(self) -> float:
        """Until something is due."""
        moments = [source.due() for source in self.sources]
        if not self._released:
            moments.append(self.begin_at)
        moments += [due / 1e9 for session in self.sessions if (due := session.machine.next_timer_ns) is not None]
        if self.ended:
            moments.append(time.monotonic() + _TICK_S)
        return max(0.0, min([*(moment - time.monotonic() for moment in moments), _SLICE_S]))

    def _begin(self) -> None:
        if not self._released and time.monotonic() >= self.begin_at:
            self._released = True
            for source in self.sources:
                source.release()

    def _expire_timers(self) -> None:
        for session in list(self.sessions):
            due = session.machine.next_timer_ns
            if due is not None and due <= session.machine.environment.clock.monotonic_ns():
                with lock:
                    session.machine.expire_timers()

    def _over(self) -> bool:
        """Whether all has ended and the script knows."""
        now = time.monotonic()
        if not self.ended:
            if not self._released or not all(source.ended for source in self.sources):
                return False
            self.ended = True
            self._ended_at = self._stirred = now
            self._waits_at_end = self.waits
            with lock:
                ran()
        if not self.interrupts or self.noticed:
            return True
        if not self._in_vain(now):
            return False
        self._interrupt()
        return True

    def _in_vain(self, now: float) -> bool:
        """Whether the script waits for what will not come."""
        from ebpf.session import waiting

        seen = self._seen()
        patience = waiting.patience_s(results_seen=seen)
        if patience is None:
            self._stirred = now
        elif seen and patience < _LOOP_S <= now - self._ended_at:
            return True  # it looks, sleeps, and looks again
        elif now - max(_touched, lines().touched, self._stirred) >= patience:
            return True
        return seen and self.waits - self._waits_at_end > _FRUITLESS

    def _seen(self) -> bool:
        """Whether the script has read what came; one that looks at maps alone: whether it has looked since the end."""
        open = [reader for reader in list(readers) if reader.fileno() >= 0]
        if any(reader.pending for reader in open):
            return False
        pipe = lines()
        if pipe.read and pipe.pending:
            return False
        return bool(open) or pipe.read or _touched > self._ended_at

    def _interrupt(self) -> None:
        import signal

        main = threading.main_thread()
        if self.interrupts and not self.noticed and main.is_alive() and main.ident is not None:
            self.interrupted = True
            signal.pthread_kill(main.ident, signal.SIGINT)
