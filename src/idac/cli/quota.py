"""``idac quota``: how much callers may ask for, and exceptions from it until a date."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal

import click

from idac.cli.admin import actor, administration, parse_moment, shown
from idac.cli.main import Options
from idac.cli.output import counted, print_json, print_table
from idac.core.errors import BadParameter, NotFound
from idac.core.quota import LIMITS, Limit
from idac.identity.quota_report import TITLES, report_json, shown_amount
from idac.identity.quota_settings import MOST, QuotaSettings
from idac.identity.quotas import Override, Quotas
from idac.wiring.quotas import QuotaDesk, open_quota_desk

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*([kMGTP]?)B?", re.ASCII)
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_ALLOWED = f"LIMIT=AMOUNT with {', '.join(LIMITS)}, and a number, a size such as 50GB, or unlimited"


@click.group("quota")
def command() -> None:
    """See quotas, and set limits of one account or group until a date."""


@contextmanager
def _desk(options: Options) -> Iterator[QuotaDesk]:
    with administration(options) as identity:
        yield open_quota_desk(identity)


@command.command(short_help="Show how somebody stands, or the quotas of all.")
@click.argument("user", required=False)
@_JSON
@click.pass_obj
def show(options: Options, user: str | None, as_json: bool) -> None:
    """Show limits and use of USER, or, without one, what dac.yaml gives to everyone and to groups."""
    with _desk(options) as desk:
        if user is None:
            _show_settings(desk.quotas.settings, as_json)
            return
        report = desk.report(user)
    if as_json:
        print_json(report_json(report))
        return
    rows = [(each.limit, TITLES[each.limit], each.words, each.origin) for each in report.standings]
    print_table(("limit", "what", "used", "from"), rows)
    if report.results:
        click.echo()
    for kept in report.results:
        click.echo(f"{kept.job_id}  {shown_amount('result_bytes', kept.size)}  until {shown(kept.until)} UTC")


@command.command("set", short_help="Set limits of an account or group.")
@click.argument("name")
@click.argument("limits", nargs=-1, required=True, metavar="LIMIT=AMOUNT...")
@click.option("--until", help="How long: a date, or a time from now such as 7d. Default: for good.", metavar="WHEN")
@_JSON
@click.pass_obj
def set_limits(options: Options, name: str, limits: tuple[str, ...], until: str | None, as_json: bool) -> None:
    """Set limits of the account or group NAME, in place of what dac.yaml says.

    An account's limit stands for all that it would have; a group's for what the group adds. For example:
    idac quota set ada tap=2000 result_bytes=50GB --until 7d
    """
    amounts = _parse_all(limits)
    expires = parse_moment(until, "--until")
    with _desk(options) as desk:
        desk.quotas.set(name, amounts, actor=actor(), expires=expires)
        found = [each for each in desk.quotas.overrides() if each.subject == name]
        unlimited = _why_unlimited(desk.quotas, name)
    if unlimited is not None:
        click.echo(f"{unlimited}: what was set counts only once that is no longer so.", err=True)
    if as_json:
        print_json([_json(each) for each in found])
        return
    words = ", ".join(f"{limit} {shown_amount(limit, amount)}" for limit, amount in amounts.items())
    ends = f" until {shown(expires)} UTC" if expires is not None else ""
    click.echo(f"{name}: {words}{ends}. It holds everywhere within 5 seconds.")


@command.command(short_help="Take back limits that were set.")
@click.argument("name")
@click.argument("limits", nargs=-1, type=click.Choice(LIMITS))
@_JSON
@click.pass_obj
def remove(options: Options, name: str, limits: tuple[Limit, ...], as_json: bool) -> None:
    """Take back LIMITS that were set for NAME, or all of them: dac.yaml holds again."""
    with _desk(options) as desk:
        removed = desk.quotas.remove(name, limits, actor=actor())
    if as_json:
        print_json({"name": name, "removed": removed})
    else:
        click.echo(f"{name}: {counted(removed, 'limit')} taken back. dac.yaml holds within 5 seconds.")


@command.command("list")
@_JSON
@click.pass_obj
def list_limits(options: Options, as_json: bool) -> None:
    """List limits that were set, those that have ended too."""
    with _desk(options) as desk:
        found = desk.quotas.overrides()
    now = datetime.now(UTC)
    if as_json:
        print_json([_json(each) | {"holds": each.holds(now)} for each in found])
    elif not found:
        click.echo("No limits were set. Set one with: idac quota set NAME LIMIT=AMOUNT --until WHEN")
    else:
        rows = [
            (
                each.subject,
                each.limit,
                shown_amount(each.limit, each.amount),
                shown(each.expires, "for good") if each.holds(now) else f"ended {shown(each.expires)}",
                shown(each.created),
                each.actor,
            )
            for each in found
        ]
        print_table(("name", "limit", "amount", "until", "set", "by"), rows)


def _show_settings(settings: QuotaSettings, as_json: bool) -> None:
    if as_json:
        print_json(settings.model_dump(mode="json"))
        return
    given = {"default": settings.default, **settings.groups, "anonymous": settings.anonymous}
    rows = [
        (name, *("" if (amount := limits.of(limit)) is None else shown_amount(limit, amount) for limit in LIMITS))
        for name, limits in given.items()
    ]
    print_table(("of", *LIMITS), rows)
    for group in settings.bypass:
        click.echo(f"{group}: no quotas")


def _why_unlimited(quotas: Quotas, name: str) -> str | None:
    """Why limits of the account or group mean nothing now; None where they count."""
    bypass = set(quotas.settings.bypass)
    if name in bypass:
        return f"Members of {name} have no quotas (identity.quotas.bypass)"
    try:
        account = quotas.account(name)
    except NotFound:
        return None  # a group
    if account.is_admin:
        return f"{name} is an administrator, and those have no quotas"
    through = sorted(account.groups & bypass)
    return f"{name} is in {through[0]}, whose members have no quotas (identity.quotas.bypass)" if through else None


def _parse_all(texts: Iterable[str]) -> dict[Limit, int | None]:
    amounts: dict[Limit, int | None] = {}
    for text in texts:
        limit, amount = _parse(text)
        if limit in amounts:
            raise BadParameter(
                "The limit is given twice.", value=text, allowed="each limit once", next_step=f"Leave one {limit}= out."
            )
        amounts[limit] = amount
    return amounts


def _parse(text: str) -> tuple[Limit, int | None]:
    name, _, amount = text.partition("=")
    limit = next((limit for limit in LIMITS if limit == name), None)
    size = _SIZE.fullmatch(amount.strip())
    if limit is None or (size is None and amount != "unlimited") or (size and size[2] and limit != "result_bytes"):
        raise BadParameter("This is no limit that can be set.", value=text, allowed=_ALLOWED)
    if size is None:
        return limit, None
    wanted = Decimal(size[1]) * _FACTORS[size[2]]
    if wanted > MOST:
        raise BadParameter("The limit is too large.", value=text, allowed=_ALLOWED, next_step=f"Try {limit}=unlimited.")
    if wanted != int(wanted):
        raise BadParameter(
            "A limit is a whole number.", value=text, allowed=_ALLOWED, next_step=f"Try {limit}={int(wanted)}."
        )
    return limit, int(wanted)


def _json(each: Override) -> dict[str, object]:
    return {
        "name": each.subject,
        "limit": each.limit,
        "amount": each.amount,
        "until": each.expires.isoformat(timespec="seconds") if each.expires is not None else None,
        "set": each.created.isoformat(timespec="seconds"),
        "by": each.actor,
    }
