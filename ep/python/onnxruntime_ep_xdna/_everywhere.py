"""The provider in programs that make their sessions themselves and name the CPU provider, or none."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._library import EP_NAME
from ._options import EpOptions, words
from ._registration import runtime
from ._sessions import CPU_NAME, Provider, check, is_own, open_session, words_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

_log = logging.getLogger("onnxruntime_ep_xdna")
_LOCK = threading.Lock()
# The last one counts.
_active: tuple[Everywhere, ...] = ()


class Everywhere:
    """What :func:`everywhere` changed, until ``undo()`` or the end of its ``with`` block."""

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options
        """The provider's options for sessions that name none."""
        self.sessions = 0
        """Sessions that got the provider."""
        self.without: dict[str, int] = {}
        """Why others did not, and how many."""

    def undo(self) -> None:
        """Sessions that are made from now on are as without it; those that are there stay. May be called again."""
        global _active
        with _LOCK:
            _active = tuple(one for one in _active if one is not self)

    def __enter__(self) -> Everywhere:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()


def everywhere(**ep_options: Unpack[EpOptions]) -> Everywhere:
    """From now on, sessions of this process that ask for the CPU provider, or for none, get this provider in front.

    For programs whose sessions are made by somebody else's code. It changes the constructor of
    ``onnxruntime.InferenceSession``, so classes that were imported before and subclasses have it too, and says so in
    a line of the log (``logging``, "onnxruntime_ep_xdna"). Sessions that name other providers keep them, with this one
    between them and the CPU provider; those that chose devices in their ``SessionOptions``, or name other providers
    alone, are left as they are. A session that cannot be made with the provider is made as the program asked, and the
    log says why. ``SessionOptions`` are not changed. With neither ``device`` nor ``precision`` the provider computes in
    f32.

    Gives what takes it back: ``undo()``, or a ``with`` block. Raises :class:`OptionsError` for options that are not
    known or cannot be followed, and what :func:`register` raises.
    """
    global _active
    chosen = words(ep_options)
    check(chosen)
    made = Everywhere(chosen)
    with _LOCK:
        _patch(runtime().InferenceSession)
        _active = (*_active, made)
    _log.warning(
        "onnxruntime.InferenceSession was changed: sessions that ask for %s get %s in front (%s)",
        CPU_NAME,
        EP_NAME,
        ", ".join(f"{name}={value}" for name, value in chosen.items()) or "in f32",
    )
    return made


def active() -> bool:
    """Whether sessions are changed now."""
    return bool(_active)


def _patch(cls: Any) -> None:
    """Changes the constructor, once; without an :class:`Everywhere` it is the old one."""
    original: Callable[..., None] = cls.__init__
    if getattr(original, "_undertone", False):
        return

    @functools.wraps(original)
    def constructor(
        self: Any,
        path_or_bytes: Any,
        sess_options: Any = None,
        providers: Any = None,
        provider_options: Any = None,
        **keywords: Any,
    ) -> None:
        asked = (path_or_bytes, sess_options, providers, provider_options)
        of_all = None if is_own() else next(reversed(_active), None)
        if of_all is None or not _with_provider(of_all, original, self, *asked, keywords):
            original(self, *asked, **keywords)

    constructor._undertone = True  # type: ignore[attr-defined]
    cls.__init__ = constructor


def _with_provider(
    of_all: Everywhere,
    original: Callable[..., None],
    session: Any,
    model: Any,
    options: Any,
    providers: Any,
    provider_options: Any,
    keywords: dict[str, Any],
) -> bool:
    """Makes the session with the provider; false if it has to be made as the program asked."""
    module = runtime()
    listed = _listed(options, providers, provider_options)
    if isinstance(listed, str):
        return _left(of_all, model, listed)
    before, own, after = listed

    def make(*arguments: Any, **changed: Any) -> Any:
        original(session, *arguments, **changed)

    try:
        open_session(module, model, options, of_all.options if own is None else own, make, before, after, **keywords)
    except Exception as error:
        return _left(of_all, model, f"it cannot be made so: {words_of(error)}")
    # Making it fell back to nothing; a run that fails does what the program asked for.
    if int(keywords.get("enable_fallback", 1)) == 1:
        session.enable_fallback()
    with _LOCK:
        of_all.sessions += 1
    return True


def _left(of_all: Everywhere, model: Any, reason: str) -> bool:
    name = "a session" if isinstance(model, bytes) else f"the session of {model}"
    with _LOCK:
        new = reason not in of_all.without
        of_all.without[reason] = of_all.without.get(reason, 0) + 1
    # The same reason for a hundred models is one line.
    _log.log(logging.WARNING if new else logging.DEBUG, "%s goes without %s: %s", name, EP_NAME, reason)
    return False


def _listed(
    options: Any, providers: Any, provider_options: Any
) -> tuple[list[Provider], dict[str, str] | None, list[Provider]] | str:
    """The providers before this one, its options where the program names some, and the providers after it; or why the
    session is left alone."""
    if not providers:
        if options is not None and options.has_providers():
            return "its SessionOptions name devices already"
        return [], None, []
    named: list[Provider] = []
    try:
        for provider, of_it in zip(providers, provider_options or [{}] * len(providers), strict=True):
            named.append((provider, of_it) if isinstance(provider, str) else (provider[0], provider[1]))
    except (TypeError, ValueError, IndexError):
        return "ONNX Runtime has to judge its list of providers"
    # By its name alone it has the options that were given to everywhere().
    own = None if EP_NAME in providers and not provider_options else dict(named).get(EP_NAME)
    names = [name for name, _ in named]
    if CPU_NAME not in names and EP_NAME not in names:
        return f"it asks for {', '.join(names)} alone"
    # ONNX Runtime's list of available providers has this one behind the CPU provider, where it would get nothing.
    at = min(names.index(name) for name in (CPU_NAME, EP_NAME) if name in names)
    before, after = named[:at], [one for one in named[at:] if one[0] != EP_NAME]
    return before, own, after
