"""Names of groups that mean something to this centre already, which nobody may give to a group of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from idac.identity.settings import IdentitySettings


@dataclass(frozen=True, slots=True)
class GroupNames:
    """Names that dac.yaml uses, and beginnings of those that claims can make."""

    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def means_something(self, name: str) -> bool:
        """True where membership of a group of this name opens, limits or raises something here, or may by a claim."""
        return name in self.names or (bool(self.prefixes) and name.startswith(self.prefixes))


NO_NAMES = GroupNames()


def names_in_use(settings: IdentitySettings, readers: Iterable[str] = ()) -> GroupNames:
    """What the ``identity`` section names, with *readers*, the groups that may read by ``catalogs``.

    Data rights and the providers' own groups are among them: a group of such a name would pass for what it is not.
    """
    names = {*readers, *settings.rights, *settings.quotas.groups, *settings.quotas.bypass}
    prefixes = []
    for provider in (*settings.providers.values(), *settings.github.values()):
        names |= {*provider.groups.values(), *provider.groups, *provider.admin_groups, *provider.allow.groups}
        if provider.group_prefix is not None:
            prefixes.append(provider.group_prefix)
    return GroupNames(frozenset(names), tuple(prefixes))
