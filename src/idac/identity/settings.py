"""The ``identity`` section of dac.yaml: who may log in and how, and the data rights that there are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from idac.core.settings import Section

RIGHT_NAME = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"


class DataRight(Section):
    """A right to read data, such as a release or a project's tables; groups hold it, until a date."""

    title: str = ""
    """What it is, for people."""

    tables: list[str] = Field(default_factory=list)
    """Schemas (``dp1``) and tables (``dp2.visits``) that it opens. They are closed to all others but administrators and
    the groups that catalogs.read names."""

    ask: str = ""
    """How to ask for it, as a sentence: shown to whoever is refused."""


class IdentitySettings(Section):
    """Log-in, tokens, groups and data rights. Off by default: then everyone is anonymous."""

    enabled: bool = False
    """Whether callers are identified. Accounts, groups and tokens can be made before it is turned on."""

    rights: dict[Annotated[str, Field(pattern=RIGHT_NAME, max_length=60)], DataRight] = Field(default_factory=dict)
    """Data rights by name, such as ``dp1``. ``idac group grant`` gives one to a group."""

    passwords: bool = True
    """Whether accounts of this centre may log in with a password, at /auth/login. Without it there are one-time links,
    tokens and identity providers."""

    basic_passwords: bool = False
    """Whether such a password may also be sent with each request (HTTP Basic). Off, since programs keep what they are
    given: a token can be limited and revoked, and works in the same place."""

    session_s: Annotated[int, Field(ge=60)] = 12 * 3600
    """Seconds for which a browser stays logged in: a working day."""

    max_token_s: Annotated[int, Field(ge=60)] | None = None
    """Longest life of a token that people make for themselves, in seconds; unset: as long as they like."""

    notebook_token_s: Annotated[int, Field(ge=60)] = 24 * 3600
    """Longest life of a token for a notebook, in seconds."""

    check_s: Annotated[float, Field(ge=0, le=5)] = 3.0
    """Seconds for which a process believes what it has just looked up. A token that is revoked, or a right that ends,
    holds for so long at most; each token in use costs one small query in that time."""

    watch_s: Annotated[float, Field(gt=0, le=25)] = 5.0
    """Seconds between looks at whether those whose queries are running may still have them."""

    guesses_per_address: Annotated[int, Field(ge=1)] = 30
    """Wrong passwords or tokens, each another, that an address may try in guess_window_s before it must wait. A whole
    institute may stand behind one address."""

    guesses_per_account: Annotated[int, Field(ge=1)] = 10
    """Wrong passwords for one account in guess_window_s, from wherever, before its password must wait. Its tokens and
    sessions go on."""

    guess_window_s: Annotated[int, Field(ge=1)] = 300
    """Seconds in which guesses are counted, and the longest wait after too many."""

    first_id: Annotated[int, Field(ge=1000, le=2**31 - 1)] = 100_000
    """First number for users and groups (UID and GID, from one sequence). Numbers are never given twice; change it
    before the first account is made, to keep clear of those of the institute."""

    @field_validator("rights")
    @classmethod
    def _one_right_a_table(cls, value: dict[str, DataRight]) -> dict[str, DataRight]:
        for name, right in value.items():
            if any(table.count(".") > 1 or not table.strip(".") for table in right.tables):
                raise ValueError(f"must name schemas or schema.table in the tables of {name}")
        return value
