"""Pages of groups that people make, and the forms on them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from idac.core.errors import BadParameter, NotFound, UserError
from idac.core.principal import Principal
from idac.identity.cookies import Cookies
from idac.identity.group_model import GroupView, Invitation
from idac.identity.groups import UserGroups
from idac.identity.identify import address_of
from idac.identity.invitations import Invitations
from idac.identity.json_requests import by_session
from idac.identity.pages import page
from idac.identity.pages_groups import (
    GROUPS_PAGE,
    INVITATIONS_PAGE,
    JOIN_PATH,
    Visit,
    group_body,
    groups_body,
    join_body,
)
from idac.web.bodies import read_parameters
from idac.web.context import WebContext
from idac.web.parameters import Parameters
from idac.web.routes import Policy, PolicyRoute, principal_of

_FORM_BYTES = 16 * 1024
_MOST_DAYS = 36500
_ACTS = ("INVITE", "LINK", "WITHDRAW", "REMOVE", "PROMOTE", "DEMOTE", "HAND-OVER", "DELETE")


class GroupPages:
    def __init__(self, groups: UserGroups, invitations: Invitations, cookies: Cookies, web: WebContext) -> None:
        self._groups, self._invitations, self._cookies, self._web = groups, invitations, cookies, web

    def routes(self) -> list[PolicyRoute]:
        person = Policy("user", "text", max_body_bytes=_FORM_BYTES, cross_origin=False, scope="user:groups")
        one = f"{GROUPS_PAGE}/{{name}}"
        return [
            PolicyRoute(GROUPS_PAGE, self.show_all, methods=["GET"], policy=person),
            PolicyRoute(GROUPS_PAGE, self.make, methods=["POST"], policy=person),
            PolicyRoute(one, self.show, methods=["GET"], policy=person),
            PolicyRoute(one, self.change, methods=["POST"], policy=person),
            PolicyRoute(INVITATIONS_PAGE, self.answer, methods=["POST"], policy=person),
            PolicyRoute(JOIN_PATH, self.ask_to_join, methods=["GET"], policy=person),
            PolicyRoute(JOIN_PATH, self.join, methods=["POST"], policy=person),
        ]

    async def show_all(self, request: Request) -> Response:
        return await self._all(request, principal_of(request))

    async def _all(
        self,
        request: Request,
        principal: Principal,
        error: UserError | None = None,
        typed: tuple[str, str] = ("", ""),
    ) -> Response:
        mine = await self._web.in_state_thread(lambda: self._groups.mine(principal))
        asked = await self._web.in_state_thread(lambda: self._invitations.mine(principal))
        others = principal.groups - {group.name for group, _ in mine}
        body = groups_body(
            self._visit(request, principal, error),
            mine,
            others,
            asked,
            may_make=self._groups.settings.enabled,
            typed=typed,
        )
        return page("Groups", body, error.status if error else 200)

    async def make(self, request: Request) -> Response:
        principal, sent = await self._sent(request)
        name, description = sent.text("NAME") or "", sent.text("DESCRIPTION") or ""
        try:
            await self._web.in_state_thread(lambda: self._groups.make(principal, name, description))
        except UserError as error:
            _require_person(principal, error)
            return await self._all(request, principal, error, (name, description))
        return _to(f"{GROUPS_PAGE}/{name}")

    async def show(self, request: Request) -> Response:
        return await self._page(request, principal_of(request))

    async def _page(
        self, request: Request, principal: Principal, link: str | None = None, error: UserError | None = None
    ) -> Response:
        name = request.path_params["name"]
        view: GroupView = await self._web.in_state_thread(lambda: self._groups.view(principal, name))
        body = group_body(view, self._visit(request, principal, error), self._groups.settings, link)
        return page(f"Group {name}", body, error.status if error else 200)

    async def change(self, request: Request) -> Response:
        """One of the page's forms: ``act`` says which, and ``who`` whom or what it is about."""
        principal, sent = await self._sent(request)
        try:
            return await self._change(request, principal, sent)
        except UserError as error:
            _require_person(principal, error)
            return await self._page(request, principal, error=error)

    async def _change(self, request: Request, principal: Principal, sent: Parameters) -> Response:
        name, act = request.path_params["name"], sent.choice("ACT", _ACTS)
        if act == "LINK":
            uses, expires = self._uses(sent), self._in_days(sent, "DAYS")
            ends = self._in_days(sent, "PLACE_DAYS")
            _, secret = await self._web.in_state_thread(
                lambda: self._invitations.make_link(principal, name, uses=uses, expires=expires, member_expires=ends)
            )
            link = self._web.urls.of(request, f"{JOIN_PATH}?invitation={secret.text}")
            return await self._page(request, principal, link)
        who = sent.required("WHO", "an account of this centre")
        await self._web.in_state_thread(self._work(principal, name, act, who, sent))
        left = act == "DELETE" or (act == "REMOVE" and who == principal.name)
        return _to(GROUPS_PAGE if left else f"{GROUPS_PAGE}/{name}")

    def _work(
        self, principal: Principal, name: str, act: str | None, who: str, sent: Parameters
    ) -> Callable[[], object]:
        if act == "INVITE":
            expires, ends = self._in_days(sent, "DAYS"), self._in_days(sent, "PLACE_DAYS")
            return lambda: self._invitations.invite(principal, name, who, expires=expires, member_expires=ends)
        if act == "DELETE" and who != name:
            raise BadParameter(
                "This is not the name of the group.", value=who, allowed=name, next_step="Nothing was deleted."
            )
        acts: dict[str | None, Callable[[], object]] = {
            "WITHDRAW": lambda: self._invitations.withdraw(principal, name, who),
            "REMOVE": lambda: self._groups.remove(principal, name, who),
            "PROMOTE": lambda: self._groups.set_manager(principal, name, who, manages=True),
            "DEMOTE": lambda: self._groups.set_manager(principal, name, who, manages=False),
            "HAND-OVER": lambda: self._groups.hand_over(principal, name, who),
            "DELETE": lambda: self._groups.delete(principal, name),
        }
        if act not in acts:
            raise BadParameter("ACT is missing.", allowed=", ".join(_ACTS))
        return acts[act]

    def _uses(self, sent: Parameters) -> int:
        """For how many people a link is to be."""
        text, most = sent.text("USES") or "1", self._groups.settings.max_members
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        if not 1 <= number <= most:
            raise BadParameter(
                "A link can't be for so many people.",
                value=text,
                allowed=f"1 to {most}, as many as a group may have",
                next_step="No link was made. Say for how many people it is.",
            )
        return number

    def _in_days(self, sent: Parameters, name: str) -> datetime | None:
        days = sent.integer(name, minimum=1, maximum=_MOST_DAYS)
        return self._groups.store.now() + timedelta(days=days) if days is not None else None

    # -- those who are invited ---------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        principal, sent = await self._sent(request)
        key, accept = sent.required("KEY", "an invitation"), sent.choice("ANSWER", ["ACCEPT", "DECLINE"]) == "ACCEPT"
        try:
            await self._web.in_state_thread(lambda: self._invitations.answer(principal, key, accept=accept))
        except UserError as error:
            _require_person(principal, error)
            return await self._all(request, principal, error)
        return _to(GROUPS_PAGE)

    async def ask_to_join(self, request: Request) -> Response:
        """What a link invites to, with a button."""
        principal, secret = principal_of(request), request.query_params.get("invitation", "")
        try:
            found = await self._look(request, principal, secret)
        except NotFound as error:
            _require_person(principal, error)
            return page("Join a group", self._visit(request, principal, error).head, error.status)
        is_in = found.group in principal.groups
        body = join_body(found, secret, self._visit(request, principal), is_in=is_in)
        return page("Join a group", body)

    async def _look(self, request: Request, principal: Principal, secret: str) -> Invitation:
        address = address_of(request)
        return await self._web.in_state_thread(lambda: self._invitations.look(principal, secret, address=address))

    async def join(self, request: Request) -> Response:
        principal, sent = await self._sent(request)
        secret, address = sent.required("INVITATION", "the secret of a link"), address_of(request)
        try:
            found = await self._web.in_state_thread(lambda: self._invitations.join(principal, secret, address=address))
        except UserError as error:
            _require_person(principal, error)
            return await self._all(request, principal, error)
        return _to(f"{GROUPS_PAGE}/{found.group}")

    # -- forms -------------------------------------------------------------------------------------------------------

    def _visit(self, request: Request, principal: Principal, error: UserError | None = None) -> Visit:
        form = self._cookies.form_token(request) if by_session(principal) else ""
        return Visit(principal.name, form, error)

    async def _sent(self, request: Request) -> tuple[Principal, Parameters]:
        """The caller and the form, which must be one that this centre gave to this browser."""
        principal = principal_of(request)
        async with read_parameters(request, self._web.limits, self._web.spool) as sent:
            self._cookies.require_own_form(request, principal, sent.one("CSRF"))
            return principal, sent


def _require_person(principal: Principal, error: UserError) -> None:
    """Raise *error* again for a program, and where it is no word on what was sent: a page would not tell it better."""
    if not by_session(principal) or error.status not in (400, 403, 404, 409):
        raise error


def _to(path: str) -> Response:
    return Response(status_code=303, headers={"location": path, "cache-control": "no-store"})
