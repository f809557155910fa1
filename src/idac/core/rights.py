"""Which schemas and tables a caller may read; the one policy that every service asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

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
        if PUBLIC in self.groups:
            return "everyone"
        groups, rights = ", ".join(sorted(self.groups)), ", ".join(sorted(self.rights))
        holders = f"holders of the data right {rights}" if rights else ""
        members = f"members of {groups}" if groups else ""
        return " and ".join(part for part in (holders, members) if part) or "administrators of this centre"


@dataclass(frozen=True, slots=True)
class RightsPolicy:
    """Read rules by resource name: the table's own rule, else its schema's, else the default.

    There are two sets of them, the operator's of dac.yaml and the publishers' of the archive, and who reads a table
    must satisfy both. So publishers close what the operator opened, and open only what dac.yaml says nothing about:
    there their rule stands in place of the default, unless *publishers_narrow*.

    Keys are lower-case ``schema`` or ``schema.table``. The default is closed (administrators only) unless the
    operator's dac.yaml says otherwise, so that a forgotten rule hides data and never shows it.
    """

    rules: Mapping[str, ReadRule]
    default: ReadRule
    #: How to ask for a data right, by its name, in the operator's words.
    how_to_ask: Mapping[str, str] = field(default_factory=dict)
    #: Whether callers can log in here, so that a nameless one is asked to before being refused.
    has_log_in: bool = False
    #: Rules that publishers attached, by the same keys.
    published: Mapping[str, ReadRule] = field(default_factory=dict)
    #: Whether the default too must be satisfied where publishers have a rule.
    publishers_narrow: bool = False

    def with_published(self, published: Mapping[str, ReadRule]) -> RightsPolicy:
        """This policy with the rules that publishers have attached as of now."""
        return replace(self, published=published) if published or self.published else self

    def rules_for(self, schema: str, table: str) -> tuple[ReadRule, ...]:
        """The operator's rule and the publisher's, where both have one: whoever reads the table satisfies each."""
        own, published = _find(self.rules, schema, table), _find(self.published, schema, table)
        if published is None:
            return (self.default if own is None else own,)
        if own is None and not self.publishers_narrow:
            return (published,)
        return (self.default if own is None else own, published)

    def shown(self, schema: str, table: str) -> str:
        """Who may read the table, in words."""
        return _shown(self.rules_for(schema, table))

    def may_read(self, principal: Principal, schema: str, table: str) -> bool:
        return all(rule.allows(principal) for rule in self.rules_for(schema, table))

    def require_read(self, principal: Principal, schema: str, table: str) -> None:
        """Raise AccessDenied that names what would be enough; NotAuthenticated where a log-in may be all that lacks."""
        lacking = [rule for rule in self.rules_for(schema, table) if not rule.allows(principal)]
        if not lacking:
            return
        nameless = self.has_log_in and principal.kind == "anonymous"
        kind = NotAuthenticated if nameless else AccessDenied
        raise kind(
            f"You may not read {schema}.{table}.",
            value=f"caller {principal.name}",
            allowed=_shown(lacking),
            next_step=self._next_step(lacking, nameless, principal),
        )

    def _next_step(self, lacking: Iterable[ReadRule], nameless: bool, principal: Principal) -> str:
        asked = sorted({name for rule in lacking for name in rule.rights & self.how_to_ask.keys()})
        ways = [f"To ask for {name}: {self.how_to_ask[name]}" for name in asked]
        if nameless:
            ways.insert(0, "Log in, or send a token, of an account that has the right.")
        if any(not rule.groups and not rule.rights for rule in lacking) and not principal.may_use("admin"):
            ways.append("Administrators need a token with the scope admin, from /auth/tokens; others ask the operator.")
        return " ".join(ways) or "Log in with an account that has this right, or ask the operator for it."


def _find(rules: Mapping[str, ReadRule], schema: str, table: str) -> ReadRule | None:
    schema, table = schema.lower(), table.lower()
    own = rules.get(f"{schema}.{table}")
    return own if own is not None else rules.get(schema)


def _shown(rules: Iterable[ReadRule]) -> str:
    """All of *rules* in words; one that lets everyone in says nothing beside another."""
    words = list(dict.fromkeys(rule.shown for rule in rules))
    narrower = [each for each in words if each != "everyone"]
    return ", and only ".join(narrower) if narrower else words[0]
