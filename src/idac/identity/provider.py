"""What a log-in needs of whoever vouches for people: an address to go to, and a name to come back with."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from idac.core.errors import NotAuthenticated
from idac.identity.flows import Flow
from idac.identity.model import ExternalIdentity
from idac.identity.settings import AnyProviderSettings

log = logging.getLogger(__name__)


class Provider(ABC):
    """An identity provider, as one process knows it; for one event loop. *now* is the clock of this centre."""

    def __init__(self, name: str, settings: AnyProviderSettings, issuer: str, now: Callable[[], datetime]) -> None:
        self.name, self.issuer = name, issuer
        self.title = settings.title or name
        self.makes_accounts = settings.allow.new_accounts
        self._now = now

    @abstractmethod
    async def ready(self) -> None:
        """Raise ProviderUnavailable where nobody can log in by it now."""

    @abstractmethod
    async def log_in_url(self, flow: Flow, state: str) -> str:
        """Where the browser goes to log in."""

    @abstractmethod
    async def finish(self, flow: Flow, answer: Mapping[str, str]) -> ExternalIdentity:
        """Who logged in, by the parameters that the browser came back with; NotAuthenticated where nobody did."""

    def code_of(self, answer: Mapping[str, str]) -> str:
        """The code that the browser brings; NotAuthenticated where it brings none."""
        error = answer.get("error")
        if error is not None:
            # Its code alone: whatever else is said there may be anyone's words.
            known = error if error.isascii() and error.replace("_", "").isalpha() and len(error) <= 40 else "error"
            raise NotAuthenticated(
                f"{self.title} did not log you in.", value=known, next_step="Try again, or log in another way."
            )
        if not answer.get("code"):
            raise self.doubted("the answer has no code")
        return answer["code"]

    def require_no_error(self, tokens: Mapping[str, Any]) -> None:
        """Raise NotAuthenticated where the provider gave no tokens for a code, and note its reason."""
        if "error" in tokens:
            log.warning(
                "an identity provider refused a code",
                extra={"provider": self.name, "error": str(tokens["error"])[:40]},
            )
            raise self.doubted("it refused the code")

    def doubted(self, why: str) -> NotAuthenticated:
        """The error for an answer that is not what it should be."""
        log.warning("a log-in was refused", extra={"provider": self.name, "why": why})
        return NotAuthenticated(
            f"The answer of {self.title} can't be believed.",
            value=why,
            next_step="Begin the log-in again; if it lasts, tell the operator.",
        )
