"""Identity joined to the rest: one gate for all routes, and jobs that run with their owner's rights of that moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache

import anyio

from idac.catalogs.access import named_groups
from idac.core.database import Database
from idac.core.errors import AccessDenied, NotAuthenticated
from idac.core.loading import Loaded
from idac.core.principal import Principal
from idac.core.quota import JobUse
from idac.core.secrets import SecretSource
from idac.identity.administration import Administration
from idac.identity.cookies import Cookies
from idac.identity.device import DeviceGrants
from idac.identity.directory import Directory
from idac.identity.gate import LOG_IN_PATH, make_gate
from idac.identity.github import GitHubProvider
from idac.identity.group_names import GroupNames, names_in_use
from idac.identity.groups import UserGroups
from idac.identity.identify import Identifier
from idac.identity.invitations import Invitations
from idac.identity.ledger import Ledger
from idac.identity.oidc import OpenIdProvider
from idac.identity.pages import own_pages
from idac.identity.provider import Provider
from idac.identity.routes_api import ApiRoutes
from idac.identity.routes_device import DeviceRoutes
from idac.identity.routes_gms import GmsRoutes
from idac.identity.routes_groups import GroupRoutes
from idac.identity.routes_groups_pages import GroupPages
from idac.identity.routes_impersonation import ImpersonationRoutes
from idac.identity.routes_login import LogInRoutes
from idac.identity.routes_provider import ProviderRoutes
from idac.identity.routes_quota import QuotaRoutes
from idac.identity.self_service import SelfService
from idac.identity.settings import IdentitySettings
from idac.identity.sign_in import SignIn
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle
from idac.identity.watch import CallerWatch
from idac.jobs.model import Job
from idac.jobs.workers import Produced, RunContext, Runner
from idac.query.tap_jobs import JOBS_PATH
from idac.web.context import WebContext
from idac.web.routes import Gate, PolicyRoute
from idac.wiring.build import open_archive, open_state
from idac.wiring.published_groups import PublishedGroups
from idac.wiring.quotas import QuotaDesk, make_quota_desk
from idac.wiring.settings import DacSettings

#: Passwords hashed at once in a process: each takes a processor and 64 MiB for a moment.
_HASHES = 2


@dataclass(frozen=True)
class Identity:
    """Identity as one process has it."""

    gate: Gate
    directory: Directory
    ledger: Ledger
    watch: CallerWatch
    administration: Administration
    quotas: QuotaDesk
    routes: tuple[PolicyRoute, ...]

    @staticmethod
    def own_pages(principal: Principal) -> Sequence[tuple[str, str]]:
        """See ``identity.pages.own_pages``."""
        return own_pages(principal)

    def with_owners_rights(self, runner: Runner) -> OwnersRights:
        """A *runner* of jobs, each with the rights that its owner has by then."""
        return OwnersRights(runner, self.directory.owner_now, self.ledger)

    def start(self) -> None:
        self.ledger.start()
        self.watch.start()

    def stop(self) -> None:
        self.watch.stop()
        self.ledger.stop()


def open_identity(
    settings: DacSettings,
    database: Database,
    web: WebContext,
    secrets: SecretSource,
    use_of: Callable[[str], JobUse],
    published: PublishedGroups,
) -> Identity:
    """Identity, as dac.yaml has it. *use_of* tells what the jobs take that are counted for somebody."""
    chosen = settings.identity
    store = IdentityStore(database, first_id=chosen.first_id)
    administration = Administration(store, chosen, group_names(settings, published.lately))
    directory = Directory(store, administration.names, administration.issuers)
    ledger, throttle = Ledger(store), Throttle(store, chosen)
    sign_in = SignIn(store, chosen, throttle, ledger)
    cookies = Cookies(web.urls, settings.centre.name, chosen.session_s)
    hashing = anyio.CapacityLimiter(_HASHES)
    identifier = Identifier(store, directory, sign_in, throttle, ledger, chosen, cookies, hashing)
    log_in = LogInRoutes(sign_in, identifier, administration, cookies, web, hashing)
    elsewhere = ProviderRoutes(
        _open_providers(chosen, secrets, store), store, log_in, ledger, cookies, web, passwords=chosen.passwords
    )
    desk = make_quota_desk(administration, chosen.check_s, use_of)
    limits = QuotaRoutes(desk.reports, web, JOBS_PATH)
    own = SelfService(administration)
    api = ApiRoutes(own, administration, cookies, web, desk.quotas)
    groups = UserGroups(administration, published.now)
    invitations = Invitations(groups, throttle)
    people = GroupRoutes(groups, invitations, cookies, web, chosen.group_service)
    lending = ImpersonationRoutes(administration, cookies, web)
    rooms = GroupPages(groups, invitations, cookies, web)
    device = DeviceRoutes(DeviceGrants(store, chosen, throttle), chosen, cookies, web)
    return Identity(
        make_gate(identifier, ledger, web.urls, desk.meter),
        directory,
        ledger,
        CallerWatch(directory, chosen.watch_s),
        administration,
        desk,
        tuple(
            route
            for part in (log_in, elsewhere, api, lending, device, limits, people, rooms, GmsRoutes(own, web))
            for route in part.routes()
        ),
    )


def _open_providers(settings: IdentitySettings, secrets: SecretSource, store: IdentityStore) -> dict[str, Provider]:
    found: dict[str, Provider] = {}
    for name, each in settings.providers.items():
        secret = secrets.read(each.client_secret) if each.client_secret is not None else None
        found[name] = OpenIdProvider(name, each, secret, store.now)
    for name, github in settings.github.items():
        found[name] = GitHubProvider(name, github, secrets.read(github.client_secret), store.now)
    return found


def open_administration(loaded: Loaded[DacSettings], database: Database) -> Administration:
    """Accounts, groups and tokens, for the command line: whether or not identity is turned on yet."""
    settings = loaded.settings.identity
    store = IdentityStore(database, first_id=settings.first_id)

    @cache  # opened where it is asked for, as few commands need the archive
    def published() -> Collection[str]:
        return named_groups(open_archive(loaded, database).manifest().rules)

    return Administration(store, settings, group_names(loaded.settings, published))


def group_names(settings: DacSettings, published: Callable[[], Collection[str]]) -> GroupNames:
    """Names that dac.yaml or a publisher gives a meaning to, which no group of people can have."""
    catalogs = settings.catalogs
    readers = {name for groups in (*catalogs.read.values(), catalogs.default_read) for name in groups}
    return names_in_use(settings.identity, readers, published)


def first_log_in(loaded: Loaded[DacSettings], url: str) -> str | None:
    """A one-time log-in link for the administrator, until one has come or has a password; None where none is needed."""
    database = open_state(loaded)
    try:
        first = open_administration(loaded, database).first_administrator(actor="idac up")
    finally:
        database.close()
    return f"{url}{LOG_IN_PATH}?link={first[1].text}" if first is not None else None


def unmeant_groups(loaded: Loaded[DacSettings]) -> dict[str, str]:
    """Owners of groups that count for nobody, as dac.yaml has come to use their names; by the group's name."""
    database = open_state(loaded)
    try:
        return open_administration(loaded, database).unmeant_groups()
    finally:
        database.close()


class OwnersRights:
    """A runner of jobs, each with the rights that its owner has when it runs, and not those of when it was made."""

    def __init__(self, runner: Runner, owner_now: Callable[[Principal], Principal], ledger: Ledger) -> None:
        self._runner = runner
        self._owner_now = owner_now
        self._ledger = ledger

    def run(self, job: Job, context: RunContext) -> Produced:
        try:
            return self._runner.run(replace(job, owner=self._owner_now(job.owner)), context)
        except (AccessDenied, NotAuthenticated) as error:
            self._ledger.note_refusal(job.owner.name, f"job {job.id}", None, error.what)
            raise
