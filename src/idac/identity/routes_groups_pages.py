"""Pages of groups that people make, and the forms on them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from idac.core.errors import BadParameter
from idac.core.principal import Principal
from idac.identity.cookies import Cookies
from idac.identity.group_model import GroupView
from idac.identity.groups import UserGroups
from idac.identity.identify import address_of
from idac.identity.invitations import Invitations
from idac.identity.json_requests import by_session
from idac.identity.pages import page
from idac.identity.pages_groups import (
    GROUPS_PAGE,
    INVITATIONS_PAGE,
    JOIN_PATH,
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
        principal = principal_of(request)
        mine = await self._web.in_state_thread(lambda: self._groups.mine(principal))
        asked = await self._web.in_state_thread(lambda: self._invitations.mine(principal))
        others = principal.groups - {group.name for group, _ in mine}
        form, may_make = self._form(request, principal), self._groups.settings.enabled
        return page("Groups", groups_body(principal.name, mine, others, asked, form, may_make=may_make))

    async def make(self, request: Request) -> Response:
        principal, sent = await self._sent(request)
        name, description = sent.required("NAME", "a name for the group"), sent.text("DESCRIPTION") or ""
        await self._web.in_state_thread(lambda: self._groups.make(principal, name, description))
        return _to(f"{GROUPS_PAGE}/{name}")

    async def show(self, request: Request) -> Response:
        return await self._page(request, principal_of(request))

    async def _page(self, request: Request, principal: Principal, link: str | None = None) -> Response:
        name = request.path_params["name"]
        view: GroupView = await self._web.in_state_thread(lambda: self._groups.view(principal, name))
        form, may_invite = self._form(request, principal), self._groups.settings.enabled
        return page(f"Group {name}", group_body(view, principal.name, form, may_invite=may_invite, link=link))

    async def change(self, request: Request) -> Response:
        """One of the page's forms: ``act`` says which, and ``who`` whom or what it is about."""
        principal, sent = await self._sent(request)
        name, act = request.path_params["name"], sent.choice("ACT", _ACTS)
        if act == "LINK":
            uses, expires = sent.integer("USES", minimum=1) or 1, self._in_days(sent, "DAYS")
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
            raise BadParameter("This is not the name of the group.", value=who, allowed=name)
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

    def _in_days(self, sent: Parameters, name: str) -> datetime | None:
        days = sent.integer(name, minimum=1, maximum=_MOST_DAYS)
        return self._groups.store.now() + timedelta(days=days) if days is not None else None

    # -- those who are invited ---------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        principal, sent = await self._sent(request)
        key, accept = sent.required("KEY", "an invitation"), sent.choice("ANSWER", ["ACCEPT", "DECLINE"]) == "ACCEPT"
        await self._web.in_state_thread(lambda: self._invitations.answer(principal, key, accept=accept))
        return _to(GROUPS_PAGE)

    async def ask_to_join(self, request: Request) -> Response:
        """What a link invites to, with a button."""
        principal, address = principal_of(request), address_of(request)
        secret = request.query_params.get("invitation", "")
        found = await self._web.in_state_thread(lambda: self._invitations.look(principal, secret, address=address))
        return page("Join a group", join_body(found, secret, self._form(request, principal), principal.name))

    async def join(self, request: Request) -> Response:
        principal, sent = await self._sent(request)
        secret, address = sent.required("INVITATION", "the secret of a link"), address_of(request)
        found = await self._web.in_state_thread(lambda: self._invitations.join(principal, secret, address=address))
        return _to(f"{GROUPS_PAGE}/{found.group}")

    # -- forms -------------------------------------------------------------------------------------------------------

    def _form(self, request: Request, principal: Principal) -> str:
        return self._cookies.form_token(request) if by_session(principal) else ""

    async def _sent(self, request: Request) -> tuple[Principal, Parameters]:
        """The caller and the form, which must be one that this centre gave to this browser."""
        principal = principal_of(request)
        async with read_parameters(request, self._web.limits, self._web.spool) as sent:
            if by_session(principal):
                self._cookies.require_form_token(request, sent.one("CSRF"))
            return principal, sent


def _to(path: str) -> Response:
    return Response(status_code=303, headers={"location": path, "cache-control": "no-store"})
