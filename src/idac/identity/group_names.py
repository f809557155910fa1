"""Names of groups that mean something to this centre already, which nobody may give to a group of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from idac.core.errors import UserError
from idac.identity.settings import IdentitySettings

#: Names by which a group would pass for those who run the centre, whatever dac.yaml says.
OFFICIAL_NAMES = frozenset(
    {
        "admin", "administration", "administrator", "administrators", "admins", "centre", "dac", "everyone", "helpdesk",
        "idac", "maintainer", "maintainers", "moderator", "moderators", "nobody", "official", "operations", "operator",
        "operators", "ops", "publisher", "publishers", "security", "service", "services", "staff", "sudo", "superuser",
        "superusers", "support", "sysadmin", "sysadmins", "system", "user", "users", "wheel",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GroupNames:
    """Names that dac.yaml uses, and beginnings of those that claims can make.

    *published* asks which groups publishers let read something: they may be of another mind with each moment.
    """

    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    published: Callable[[], Collection[str]] = frozenset

    def means_something(self, name: str) -> bool:
        """True where membership of a group of this name opens, limits or raises something here, or may by a claim.

        And where nobody can say: what is closed must not open because the archive is away.
        """
        if name in self.names or (bool(self.prefixes) and name.startswith(self.prefixes)):
            return True
        try:
            return name in self.published()
        except UserError:
            return True


NO_NAMES = GroupNames()


def names_in_use(
    settings: IdentitySettings, readers: Iterable[str] = (), published: Callable[[], Collection[str]] = frozenset
) -> GroupNames:
    """What the ``identity`` section names, with *readers*, the groups that may read by ``catalogs``, and *published*.

    Official names, data rights and the providers' own groups are among them: a group of such a name would pass for what
    it is not.
    """
    names = {*OFFICIAL_NAMES, *readers, *settings.rights, *settings.quotas.groups, *settings.quotas.bypass}
    prefixes = []
    for provider in (*settings.providers.values(), *settings.github.values()):
        names |= {*provider.groups.values(), *provider.groups, *provider.admin_groups, *provider.allow.groups}
        if provider.group_prefix is not None:
            prefixes.append(provider.group_prefix)
    return GroupNames(frozenset(names), tuple(prefixes), published)
