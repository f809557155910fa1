"""Who may read what publishers published: read rules that they attach to schemas and tables, kept in the manifest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from idac.catalogs.manifest import Manifest
from idac.core.errors import BadParameter, NotFound
from idac.core.nearest import nearest
from idac.core.rights import PUBLIC, ReadRule

type Note = Callable[[str, ReadRule | None, ReadRule | None], None]


@dataclass(frozen=True, slots=True)
class AccessChange:
    """A rule to attach, or None to take away what is attached.

    *note* writes the change down, with the rule before and the one after. It comes first: what can't be written down
    is not done.
    """

    rule: ReadRule | None
    note: Note

    def applied(self, name: str, manifest: Manifest) -> Manifest:
        """The manifest with the rule on *name*, a schema or ``schema.table``."""
        key = name.lower()
        before = manifest.rules.get(key)
        if before == self.rule:
            return manifest
        rules = {other: rule for other, rule in manifest.rules.items() if other != key}
        if self.rule is not None:
            rules[key] = self.rule
        self.note(key, before, self.rule)
        return manifest.advanced(rules=rules)

    def applied_to_known(self, name: str, manifest: Manifest) -> Manifest:
        """The same, for a schema or table that is published, or has a rule. Raises NotFound with the nearest."""
        known = {*manifest.documents, *manifest.tables, *manifest.rules}
        if name.lower() not in known:
            near = nearest(name, sorted(known))
            raise NotFound(
                "There is no schema or table of this name.",
                value=name,
                allowed=", ".join(sorted(known)) or "none published yet",
                next_step=f"Did you mean {near}?" if near else "See idac catalog list.",
            )
        return self.applied(name, manifest)


def parse_rule(
    rights: Collection[str], groups: Collection[str], *, public: bool, closed: bool, known: Collection[str]
) -> ReadRule | None:
    """The rule that these words make; None where there are none. *known* are the rights that dac.yaml defines.

    Raises BadParameter for a right that is not, and for words that contradict one another.
    """
    unknown = sorted(set(rights) - set(known))
    if unknown:
        near = nearest(unknown[0], known)
        raise BadParameter(
            "There is no such data right.",
            value=", ".join(unknown),
            allowed=", ".join(sorted(known)) or "none: identity.rights of dac.yaml is empty",
            next_step=f"Did you mean {near}?" if near else "The operator defines rights in dac.yaml, identity.rights.",
        )
    if PUBLIC in groups:
        raise BadParameter("Everyone is no group.", value=f"--group {PUBLIC}", next_step=f"Use --{PUBLIC}.")
    chosen = [bool(rights or groups), public, closed]
    if sum(chosen) > 1:
        raise BadParameter(
            "These contradict one another.",
            value=", ".join(
                word
                for word, given in zip(("--right or --group", "--public", "--closed"), chosen, strict=True)
                if given
            ),
            allowed="rights and groups, or --public, or --closed",
        )
    if public:
        return ReadRule.of([PUBLIC])
    return ReadRule.of(groups, rights) if any(chosen) else None


def named_groups(rules: Mapping[str, ReadRule]) -> frozenset[str]:
    """Groups whose members *rules* let read something."""
    return frozenset(group for rule in rules.values() for group in rule.groups)


def without_open(rules: Mapping[str, ReadRule], *gone: str) -> Mapping[str, ReadRule]:
    """*rules* without those that let everyone read what is *gone*: another table of the name may not be for everyone.

    A rule that closes stays, for the same reason.
    """
    return {name: rule for name, rule in rules.items() if name not in gone or PUBLIC not in rule.groups}
