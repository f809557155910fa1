"""The ``identity`` section of dac.yaml: who may log in and how, and the data rights that there are."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from idac.core.principal import ANONYMOUS, LOCAL_ADMIN
from idac.core.rights import PUBLIC
from idac.core.secrets import NAME, SecretRef
from idac.core.settings import Section
from idac.identity.quota_settings import QuotaSettings

RIGHT_NAME = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"
#: Names of groups, as idac group has them.
GROUP_NAME = r"^[a-z]([a-z0-9_-]*[a-z0-9])?$"
#: What no user or group may be called, since it means something already.
RESERVED_NAMES = frozenset({ANONYMOUS.name, LOCAL_ADMIN.name, PUBLIC, "root"})
#: Names that programs have for themselves.
CLIENT_ID = r"^[A-Za-z0-9._-]+$"
_GROUP_PREFIX = r"^[a-z]([a-z0-9_-]*)[-_]$"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class DataRight(Section):
    """A right to read data, such as a release or a project's tables; groups hold it, until a date."""

    title: str = ""
    """What it is, for people."""

    tables: list[str] = Field(default_factory=list)
    """Schemas (``dp1``) and tables (``dp2.visits``) that it opens. They are closed to all others but administrators and
    the groups that catalogs.read names."""

    ask: str = ""
    """How to ask for it, as a sentence: shown to whoever is refused."""


class ClaimPaths(Section):
    """Where a provider says what about a person: claims by name, and with dots (``realm_access.roles``) inside others.
    A claim whose own name has dots (``wlcg.groups``) is found too."""

    username: list[str] = Field(default_factory=lambda: ["preferred_username", "email"])
    """The name that an account is made with; the first claim that is there counts. It is a wish: two people never get
    one account by it."""

    full_name: list[str] = Field(default_factory=lambda: ["name"])
    """Name for people; the first claim that is there."""

    email: list[str] = Field(default_factory=lambda: ["email"])
    """E-mail address; the first claim that is there. One that the provider calls unverified is left out."""

    groups: list[str] = Field(default_factory=list)
    """Groups, roles and data rights: the values of all these claims together. Each may be a list, or words with blanks
    between them, as Rubin's ``data_rights`` is."""

    rights: list[str] = Field(default_factory=list)
    """Claims that the provider's ``rights`` are looked for in, besides those of ``groups``; of the same forms."""


class AllowSettings(Section):
    """Whom a provider may send here."""

    groups: list[str] = Field(default_factory=list)
    """Groups of the provider of which a person needs one to log in; empty: everyone that it knows."""

    new_accounts: bool = True
    """Whether a first log-in makes an account. Without it, only those come in who have linked this identity to an
    account that they had."""


class AnyProviderSettings(Section):
    """What every provider has. Each must be told this centre's address ``/auth/login/NAME/callback``."""

    title: str = ""
    """What people call it, for the button on the log-in page; empty: its name."""

    client_id: str
    """The name that it knows this centre by."""

    groups: dict[str, Annotated[str, Field(pattern=GROUP_NAME, max_length=64)]] = Field(default_factory=dict)
    """Groups of this centre by those of the provider: ``{/lsst/dp1: dp1-team}``. Its groups that are not here lead to
    none, unless group_prefix is set."""

    group_prefix: Annotated[str, Field(pattern=_GROUP_PREFIX, max_length=30)] | None = None
    """Makes a group of every other one that has but lower-case letters, digits, hyphens and underscores, with this
    before it; a leading slash is left out. Unset, since a group that holds rights should be named in ``groups``."""

    rights: dict[str, Annotated[str, Field(pattern=RIGHT_NAME, max_length=60)]] = Field(default_factory=dict)
    """Data rights of this centre by values of the provider's claims, with no group between: ``{dp0.2: dp02}``. Only
    those that ``identity.rights`` defines. They hold as long as its groups do."""

    groups_s: Annotated[int, Field(ge=60)] = 30 * 24 * 3600
    """Seconds for which these groups and rights, and administration by admin_groups, hold after a log-in: those who
    left a team, and come no more, keep nothing by their tokens. A month, so that scripts of those who stay seldom need
    a new log-in."""

    admin_groups: list[str] = Field(default_factory=list)
    """Groups of the provider whose members are administrators here, until a log-in without one, or groups_s after the
    last; and at once no longer where none of theirs is named here any more."""

    allow: AllowSettings = AllowSettings()

    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Seconds that it may take to answer this centre."""

    @field_validator("groups")
    @classmethod
    def _are_names_of_groups(cls, value: dict[str, str]) -> dict[str, str]:
        if reserved := RESERVED_NAMES & set(value.values()):
            raise ValueError(f"must not lead to {', '.join(sorted(reserved))}, which is no group")
        return value


class ProviderSettings(AnyProviderSettings):
    """An OpenID Connect provider. What it must be told: the address ``/auth/login/NAME/callback`` of this centre."""

    issuer: str
    """Its address, exactly as its own discovery document has it. Only https, save on this machine."""

    client_secret: SecretRef | None = None
    """The secret that it gave to this centre, ``{secret: sso-client}``; none for a public client, which PKCE guards
    alone."""

    client_auth: Literal["basic", "post"] = "basic"
    """How the secret is sent: in a header, which is every provider's default, or in the body."""

    scopes: list[str] = Field(default_factory=lambda: ["openid", "profile", "email"])
    """What it is asked for. Many providers give groups only for a scope of their own."""

    claims: ClaimPaths = ClaimPaths()

    @field_validator("issuer")
    @classmethod
    def _is_https(cls, value: str) -> str:
        return _address(value)

    @field_validator("scopes")
    @classmethod
    def _asks_for_openid(cls, value: list[str]) -> list[str]:
        if "openid" not in value or any(not scope or " " in scope for scope in value):
            raise ValueError("must be a list of scopes, with openid among them")
        return value


class GitHubSettings(AnyProviderSettings):
    """GitHub, or a GitHub Enterprise Server. Its groups are organisations (``my-survey``) and teams
    (``my-survey/dp1``), written as in their addresses."""

    address: str = "https://github.com"
    """Where people log in."""

    api: str | None = None
    """Its API; unset: ``https://api.github.com``, or ``/api/v3`` of a server's own address."""

    client_secret: SecretRef
    """The secret of the OAuth app that was made for this centre."""

    @field_validator("address", "api")
    @classmethod
    def _is_https(cls, value: str | None) -> str | None:
        return _address(value).rstrip("/") if value is not None else None


def _address(value: str) -> str:
    require_safe_url(value)
    if "?" in value or "#" in value:
        raise ValueError("must be an address without ? and #")
    return value


def require_safe_url(url: str) -> None:
    """Raise ValueError for what is no https address, or http address of this machine."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ValueError("must be an https address")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("must be an https address; http is for this machine alone")


class UserGroupSettings(Section):
    """Groups that people make for themselves: to share with whom they choose, and never a way to data or quotas, which
    administrators alone give."""

    enabled: bool = True
    """Whether people may make groups, and invite to them. Turned off, those there are stay as they are: members can
    leave and be removed, and owners delete what is theirs."""

    per_account: Annotated[int, Field(ge=0)] = 20
    """Groups that one account may own. Those that it made and that were deleted count too, as nobody gets their names
    again until an administrator takes them back."""

    max_members: Annotated[int, Field(ge=1)] = 500
    """Members that such a group may have."""

    max_invitations: Annotated[int, Field(ge=1)] = 100
    """Invitations to one group that may be open at once."""

    invitations_per_account: Annotated[int, Field(ge=1)] = 50
    """Invitations to one account that may be open at once. More than the groups of two accounts, so that one person
    alone can't take them all up; whoever has so many can still be sent a link."""

    invitation_s: Annotated[int, Field(ge=60)] = 30 * 24 * 3600
    """Longest life of an invitation, in seconds."""


class IdentitySettings(Section):
    """Log-in, tokens, groups and data rights. Off by default: then everyone is anonymous."""

    enabled: bool = False
    """Whether callers are identified. Accounts, groups and tokens can be made before it is turned on."""

    rights: dict[Annotated[str, Field(pattern=RIGHT_NAME, max_length=60)], DataRight] = Field(default_factory=dict)
    """Data rights by name, such as ``dp1``. ``idac group grant`` gives one to a group."""

    providers: dict[Annotated[str, Field(pattern=NAME, max_length=40)], ProviderSettings] = Field(default_factory=dict)
    """OpenID Connect providers by a short name, which is part of the address that they send people back to. Each has
    a button on the log-in page."""

    github: dict[Annotated[str, Field(pattern=NAME, max_length=40)], GitHubSettings] = Field(default_factory=dict)
    """GitHub and servers of its kind, by a short name that no provider has."""

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

    max_tokens: Annotated[int, Field(ge=1)] = 500
    """Tokens of one account that may be good at once, where people and their programs make further ones. More than
    anybody has machines, and room for a program that logs in anew every few minutes; an operator makes more."""

    notebook_token_s: Annotated[int, Field(ge=60)] = 24 * 3600
    """Longest life of a token for a notebook, in seconds."""

    device_clients: dict[Annotated[str, Field(pattern=CLIENT_ID, max_length=64)], str] = Field(
        default_factory=lambda: {"idac": "idac login"}
    )
    """Programs that may log people in by a code that they show (device authorisation, RFC 8628), by client_id, with
    what people call them. The default is the command ``idac login``; ``{}`` turns such log-ins off."""

    device_token_s: Annotated[int, Field(ge=60)] = 90 * 24 * 3600
    """Life of a token that a program got so, in seconds, and no longer than max_token_s: a season of work between two
    log-ins."""

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

    quotas: QuotaSettings = QuotaSettings()
    """How much callers may ask for; no limits unless they are set."""

    user_groups: UserGroupSettings = UserGroupSettings()
    """Groups that people make for themselves, at /auth/groups."""

    group_service: (
        Annotated[str, Field(pattern=r"^ivo://[A-Za-z0-9][A-Za-z0-9._~-]{2,}(/[A-Za-z0-9._~/-]+)?$")] | None
    ) = None
    """IVOA identifier of this centre's group membership service (GMS), as a registry knows it:
    ``ivo://dac.example.org/gms``. Other services then know a group as ``ivo://dac.example.org/gms?NAME``."""

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

    @model_validator(mode="after")
    def _one_provider_an_issuer(self) -> IdentitySettings:
        if both := self.providers.keys() & self.github.keys():
            raise ValueError(f"must have each provider's name once: {', '.join(sorted(both))}")
        issuers = [provider.issuer for provider in self.providers.values()]
        issuers += [provider.address for provider in self.github.values()]
        if len(set(issuers)) < len(issuers):
            raise ValueError("must have providers of different issuers, since people are told apart by issuer")
        return self

    @model_validator(mode="after")
    def _claims_give_rights_that_there_are(self) -> IdentitySettings:
        for name, provider in (*self.providers.items(), *self.github.items()):
            if unknown := sorted(set(provider.rights.values()) - self.rights.keys()):
                known = ", ".join(self.rights) or "none"
                raise ValueError(f"must not have {name} give {', '.join(unknown)}: identity.rights defines {known}")
        return self
