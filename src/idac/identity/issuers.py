"""What identity providers may give here, as dac.yaml has it now and whatever it had when somebody logged in."""

from __future__ import annotations

from idac.identity.model import Account
from idac.identity.settings import AnyProviderSettings, IdentitySettings
from idac.identity.store import Records


class Issuers:
    """Providers by what they call themselves. Nothing counts that one gave which is not among them any more."""

    def __init__(self, settings: IdentitySettings) -> None:
        self._providers: dict[str, AnyProviderSettings] = {each.issuer: each for each in settings.providers.values()}
        self._providers |= {each.address: each for each in settings.github.values()}

    def may_give_right(self, issuer: str, right: str) -> bool:
        """Whether some claim of the issuer leads to the data right."""
        provider = self._providers.get(issuer)
        return provider is not None and right in provider.rights.values()

    def may_give_group(self, issuer: str, group: str) -> bool:
        """Whether some claim of the issuer leads to the group, or may, by the beginning of its name."""
        provider = self._providers.get(issuer)
        if provider is None:
            return False
        prefix = provider.group_prefix
        return group in provider.groups.values() or (prefix is not None and group.startswith(prefix))

    def may_make_administrators(self, issuer: str) -> bool:
        provider = self._providers.get(issuer)
        return provider is not None and bool(provider.admin_groups)


NO_ISSUERS = Issuers(IdentitySettings())


def is_administrator(records: Records, account: Account, issuers: Issuers) -> bool:
    """Whether the account is an administrator's: by an operator's word, or by that of an issuer who may say so now."""
    if not account.is_admin:
        return False
    by_claim = records.claimed_administrator(account.id)
    return not by_claim or any(issuers.may_make_administrators(issuer) for issuer in by_claim)
