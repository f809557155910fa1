"""Which schemas and tables a caller may read; the one policy that every service asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from idac.core.errors import AccessDenied, NotAuthenticated
from idac.core.principal import Principal

PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class ReadRule:
    """Who may read a schema or table: members of *groups* and holders of *rights*; nobody named: administrators only.

    The group ``public`` means everyone.
    """

    groups: frozenset[str]
    rights: frozenset[str] = frozenset()

    @classmethod
    def of(cls, groups: Iterable[str], rights: Iterable[str] = ()) -> ReadRule:
        return cls(frozenset(groups), frozenset(rights))

    def allows(self, principal: Principal) -> bool:
        if principal.is_admin or PUBLIC in self.groups:
            return True
        return bool(self.groups & principal.groups or self.rights & principal.rights)

    @property
    def shown(self) -> str:
        """Who may read, in words."""
        groups, rights = ", ".join(sorted(self.groups)), ", ".join(sorted(self.rights))
        holders = f"holders of the data right {rights}" if rights else ""
        members = f"members of {groups}" if groups else ""
        return " and ".join(part for part in (holders, members) if part) or "administrators of this centre"


@dataclass(frozen=True, slots=True)
class RightsPolicy:
    """Read rules by resource name: the table's own rule, else its schema's, else the default.

    Keys are lower-case ``schema`` or ``schema.table``. The default is closed (administrators only) unless the
    operator's dac.yaml says otherwise, so that a forgotten rule hides data and never shows it.
    """

    rules: Mapping[str, ReadRule]
    default: ReadRule
    #: How to ask for a data right, by its name, in the operator's words.
    how_to_ask: Mapping[str, str] = field(default_factory=dict)
    #: Whether callers can log in here, so that a nameless one is asked to before being refused.
    has_log_in: bool = False

    def rule_for(self, schema: str, table: str) -> ReadRule:
        schema, table = schema.lower(), table.lower()
        own = self.rules.get(f"{schema}.{table}")
        return own if own is not None else self.rules.get(schema, self.default)

    def may_read(self, principal: Principal, schema: str, table: str) -> bool:
        return self.rule_for(schema, table).allows(principal)

    def require_read(self, principal: Principal, schema: str, table: str) -> None:
        """Raise AccessDenied that names what would be enough; NotAuthenticated where a log-in may be all that lacks."""
        rule = self.rule_for(schema, table)
        if rule.allows(principal):
            return
        nameless = self.has_log_in and principal.kind == "anonymous"
        kind = NotAuthenticated if nameless else AccessDenied
        raise kind(
            f"You may not read {schema}.{table}.",
            value=f"caller {principal.name}",
            allowed=rule.shown,
            next_step=self._next_step(rule, nameless),
        )

    def _next_step(self, rule: ReadRule, nameless: bool) -> str:
        asked = sorted(rule.rights & self.how_to_ask.keys())
        ways = [f"To ask for {name}: {self.how_to_ask[name]}" for name in asked]
        if nameless:
            ways.insert(0, "Log in, or send a token, of an account that has the right.")
        return " ".join(ways) or "Log in with an account that has this right, or ask the operator for it."
