"""Which schemas and tables a caller may read; the one policy that every service asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from idac.core.errors import AccessDenied
from idac.core.principal import Principal

PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class ReadRule:
    """Groups that may read a schema or table; ``public`` means everyone, an empty set means administrators only."""

    groups: frozenset[str]

    @classmethod
    def of(cls, groups: Iterable[str]) -> ReadRule:
        return cls(frozenset(groups))

    def allows(self, principal: Principal) -> bool:
        return principal.is_admin or PUBLIC in self.groups or bool(self.groups & principal.groups)


@dataclass(frozen=True, slots=True)
class RightsPolicy:
    """Read rules by resource name: the table's own rule, else its schema's, else the default.

    Keys are lower-case ``schema`` or ``schema.table``. The default is closed (administrators only) unless the
    operator's dac.yaml says otherwise, so that a forgotten rule hides data and never shows it.
    """

    rules: Mapping[str, ReadRule]
    default: ReadRule

    def rule_for(self, schema: str, table: str) -> ReadRule:
        schema, table = schema.lower(), table.lower()
        own = self.rules.get(f"{schema}.{table}")
        return own if own is not None else self.rules.get(schema, self.default)

    def may_read(self, principal: Principal, schema: str, table: str) -> bool:
        return self.rule_for(schema, table).allows(principal)

    def require_read(self, principal: Principal, schema: str, table: str) -> None:
        """Raise AccessDenied that names the groups which would be enough."""
        rule = self.rule_for(schema, table)
        if rule.allows(principal):
            return
        needed = ", ".join(sorted(rule.groups)) or "administrators of this centre"
        raise AccessDenied(
            f"You may not read {schema}.{table}.",
            value=f"caller {principal.name}",
            allowed=f"members of {needed}",
            next_step="Log in with an account that has this right, or ask the operator for it.",
        )
