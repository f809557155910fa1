"""Groups that people make, and invitations to them: for programs, in JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from idac.core.errors import BadParameter
from idac.core.principal import Principal
from idac.identity.cookies import Cookies
from idac.identity.group_model import GroupView, Invitation, Role, UserGroup
from idac.identity.groups import UserGroups
from idac.identity.identify import address_of
from idac.identity.invitations import Invitations
from idac.identity.json_requests import json_object, moment_of, require_no_keys, text_of
from idac.identity.pages_groups import JOIN_PATH
from idac.web.context import WebContext
from idac.web.routes import Policy, PolicyRoute, principal_of

GROUPS_PATH = "/auth/api/v1/groups"
INVITATIONS_PATH = "/auth/api/v1/invitations"
_BODY_BYTES = 16 * 1024
_PRIVATE = {"cache-control": "no-store"}


class GroupRoutes:
    """*service_id* is the IVOA identifier of this centre's groups, where it has one."""

    def __init__(
        self, groups: UserGroups, invitations: Invitations, cookies: Cookies, web: WebContext, service_id: str | None
    ) -> None:
        self._groups, self._invitations = groups, invitations
        self._cookies, self._web, self._service_id = cookies, web, service_id

    def routes(self) -> list[PolicyRoute]:
        look = Policy("user", "json", cross_origin=False, scope="user:groups")
        send = Policy("user", "json", max_body_bytes=_BODY_BYTES, cross_origin=False, scope="user:groups")
        one = f"{GROUPS_PATH}/{{name}}"
        member, manager = f"{one}/members/{{username}}", f"{one}/managers/{{username}}"
        return [
            PolicyRoute(GROUPS_PATH, self.list_groups, methods=["GET"], policy=look),
            PolicyRoute(GROUPS_PATH, self.make, methods=["POST"], policy=send),
            PolicyRoute(one, self.show, methods=["GET"], policy=look),
            PolicyRoute(one, self.delete, methods=["DELETE"], policy=look),
            PolicyRoute(f"{one}/owner", self.hand_over, methods=["POST"], policy=send),
            PolicyRoute(member, self.set_end, methods=["PUT"], policy=send),
            PolicyRoute(member, self.remove, methods=["DELETE"], policy=look),
            PolicyRoute(manager, self.add_manager, methods=["PUT"], policy=send),
            PolicyRoute(manager, self.remove_manager, methods=["DELETE"], policy=look),
            PolicyRoute(f"{one}/invitations", self.invite, methods=["POST"], policy=send),
            PolicyRoute(f"{one}/invitations/{{key}}", self.withdraw, methods=["DELETE"], policy=look),
            PolicyRoute(INVITATIONS_PATH, self.list_invitations, methods=["GET"], policy=look),
            PolicyRoute(INVITATIONS_PATH, self.join, methods=["POST"], policy=send),
            PolicyRoute(f"{INVITATIONS_PATH}/{{key}}", self.accept, methods=["POST"], policy=send),
            PolicyRoute(f"{INVITATIONS_PATH}/{{key}}", self.decline, methods=["DELETE"], policy=look),
        ]

    # -- groups ------------------------------------------------------------------------------------------------------

    async def list_groups(self, request: Request) -> Response:
        """Groups of people that the caller owns or is in, each with what they are to it."""
        principal = principal_of(request)
        found = await self._web.in_state_thread(lambda: self._groups.mine(principal))
        return JSONResponse([self._group(group, role) for group, role in found], headers=_PRIVATE)

    async def make(self, request: Request) -> Response:
        """POST name and description; the caller is the owner."""
        principal, asked = self._sender(request), json_object(await request.body(), "name", "description")
        name, description = text_of(asked, "name"), asked.get("description", "")
        if not isinstance(description, str):
            raise BadParameter("The description can't be used.", allowed="text")
        group = await self._web.in_state_thread(lambda: self._groups.make(principal, name, description))
        location = self._web.urls.of(request, f"{GROUPS_PATH}/{name}")
        return JSONResponse(self._group(group, "owner"), 201, {**_PRIVATE, "location": location})

    async def show(self, request: Request) -> Response:
        """The group with its members, and, for who looks after it, open invitations."""
        principal, name = principal_of(request), request.path_params["name"]
        view = await self._web.in_state_thread(lambda: self._groups.view(principal, name))
        return JSONResponse(self._view(view), headers=_PRIVATE)

    async def delete(self, request: Request) -> Response:
        name = request.path_params["name"]
        return await self._done(request, lambda me: self._groups.delete(me, name))

    async def hand_over(self, request: Request) -> Response:
        """POST username, a member who is the owner from now on."""
        self._sender(request)
        name, to = request.path_params["name"], await self._one(request, "username")
        return await self._done(request, lambda me: self._groups.hand_over(me, name, to))

    async def set_end(self, request: Request) -> Response:
        """PUT expires, in seconds since 1970, or null for a place without an end."""
        self._sender(request)
        name, who = request.path_params["name"], request.path_params["username"]
        asked = json_object(await request.body(), "expires")
        if "expires" not in asked:
            raise BadParameter("expires is missing.", allowed="seconds since 1970, or null for no end")
        expires = moment_of(asked["expires"])
        return await self._done(request, lambda me: self._groups.set_end(me, name, who, expires))

    async def remove(self, request: Request) -> Response:
        """Take a member out, or leave."""
        name, who = request.path_params["name"], request.path_params["username"]
        return await self._done(request, lambda me: self._groups.remove(me, name, who))

    async def add_manager(self, request: Request) -> Response:
        return await self._manager(request, manages=True)

    async def remove_manager(self, request: Request) -> Response:
        return await self._manager(request, manages=False)

    async def _manager(self, request: Request, *, manages: bool) -> Response:
        self._sender(request)
        require_no_keys(await request.body() if manages else b"")
        name, who = request.path_params["name"], request.path_params["username"]
        return await self._done(request, lambda me: self._groups.set_manager(me, name, who, manages=manages))

    # -- invitations -------------------------------------------------------------------------------------------------

    async def invite(self, request: Request) -> Response:
        """POST username to invite an account, or uses to make a link that is good so often, and is told this once.

        ``expires`` ends the invitation and ``member_expires`` the places that it gives, in seconds since 1970.
        """
        principal, name = self._sender(request), request.path_params["name"]
        asked = json_object(await request.body(), "username", "uses", "expires", "member_expires")
        if "username" in asked and "uses" in asked:
            raise BadParameter("An invitation of an account is used once.", value="uses", next_step="Leave uses out.")
        if "username" not in asked and "uses" not in asked:
            raise BadParameter(
                "Whom is the invitation for?",
                allowed="username for an account, or uses for a link, which lets in whoever has it",
                next_step="Send one of them.",
            )
        expires = moment_of(asked.get("expires"))
        member_expires = moment_of(asked.get("member_expires"), "member_expires")
        if "username" in asked:
            who = text_of(asked, "username")
            made = await self._web.in_state_thread(
                lambda: self._invitations.invite(principal, name, who, expires=expires, member_expires=member_expires)
            )
            return JSONResponse(invitation_json(made), 201, _PRIVATE)
        uses = asked["uses"]
        if isinstance(uses, bool) or not isinstance(uses, int):
            raise BadParameter("uses is no whole number.", value=uses)
        made, secret = await self._web.in_state_thread(
            lambda: self._invitations.make_link(
                principal, name, uses=uses, expires=expires, member_expires=member_expires
            )
        )
        url = self._web.urls.of(request, f"{JOIN_PATH}?invitation={secret.text}")
        return JSONResponse({"secret": secret.text, "url": url, **invitation_json(made)}, 201, _PRIVATE)

    async def withdraw(self, request: Request) -> Response:
        name, key = request.path_params["name"], request.path_params["key"]
        return await self._done(request, lambda me: self._invitations.withdraw(me, name, key))

    async def list_invitations(self, request: Request) -> Response:
        """Invitations to the caller's account."""
        principal = principal_of(request)
        found = await self._web.in_state_thread(lambda: self._invitations.mine(principal))
        return JSONResponse([invitation_json(each) for each in found], headers=_PRIVATE)

    async def join(self, request: Request) -> Response:
        """POST secret, that of a link."""
        self._sender(request)
        secret, address = await self._one(request, "secret"), address_of(request)
        return await self._done(request, lambda me: self._invitations.join(me, secret, address=address))

    async def accept(self, request: Request) -> Response:
        return await self._answer(request, accept=True)

    async def decline(self, request: Request) -> Response:
        return await self._answer(request, accept=False)

    async def _answer(self, request: Request, *, accept: bool) -> Response:
        self._sender(request)
        require_no_keys(await request.body() if accept else b"")
        key = request.path_params["key"]
        return await self._done(request, lambda me: self._invitations.answer(me, key, accept=accept))

    # -- shapes ------------------------------------------------------------------------------------------------------

    def _sender(self, request: Request) -> Principal:
        """The caller of something that changes something: a browser's page must prove to be this centre's own."""
        principal = principal_of(request)
        self._cookies.require_own_form(request, principal, request.headers.get("x-csrf-token"))
        return principal

    async def _one(self, request: Request, name: str) -> str:
        """The text that is all that a body says."""
        return text_of(json_object(await request.body(), name), name)

    async def _done(self, request: Request, act: Callable[[Principal], object]) -> Response:
        principal = self._sender(request)
        await self._web.in_state_thread(lambda: act(principal))
        return Response(status_code=204, headers=_PRIVATE)

    def _group(self, group: UserGroup, role: Role) -> dict[str, object]:
        return {
            "name": group.name,
            "id": group.gid,
            "description": group.description,
            "owner": group.owner,
            "role": role,
            **({"ivoid": f"{self._service_id}?{group.name}"} if self._service_id is not None else {}),
        }

    def _view(self, view: GroupView) -> dict[str, object]:
        shown: dict[str, object] = self._group(view.group, view.role)
        shown["members"] = [
            {
                "username": member.account,
                "manager": member.account in view.managers,
                "expires": _seconds(member.expires),
            }
            for member in view.members
        ]
        shown["counts"] = view.counts
        if view.may_manage:
            shown["invitations"] = [invitation_json(each) for each in view.invitations]
        return shown


def invitation_json(invitation: Invitation) -> dict[str, object]:
    """An invitation without its secret; times are seconds since 1970."""
    return {
        "invitation": invitation.key,
        "group": invitation.group,
        "description": invitation.description,
        "inviter": invitation.inviter,
        "username": invitation.account,
        "uses": invitation.uses,
        "expires": _seconds(invitation.expires),
        "member_expires": _seconds(invitation.member_expires),
    }


def _seconds(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment is not None else None
