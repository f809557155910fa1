"""UWS 1.1 over HTTP for one kind of job: TAP's /async, and every later service's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from idac.core.errors import BadParameter, NotFound
from idac.core.principal import Scope
from idac.core.quota import Service
from idac.jobs.delivery import StoredResponse
from idac.jobs.model import ACTIVE, Job, JobResult, NewJob, Phase, StoredFile
from idac.jobs.service import JobService, new_job_id
from idac.jobs.uws_xml import iso_time, job_xml, jobs_xml, parameters_xml, results_xml
from idac.jobs.watch import PhaseWatch
from idac.web.bodies import read_parameters
from idac.web.callers import fair_owner
from idac.web.context import WebContext
from idac.web.faces import error_votable
from idac.web.parameters import Parameters
from idac.web.routes import Policy, PolicyRoute, principal_of

#: UWS's own words in a request, which are no parameters of the job.
_CONTROL = frozenset({"PHASE", "ACTION", "WAIT", "DESTRUCTION", "EXECUTIONDURATION"})


class JobKind(Protocol):
    """What a service adds to UWS: its name, and what it makes of the files of a request."""

    @property
    def name(self) -> str: ...
    def take_files(self, job_id: str, parameters: Parameters) -> tuple[StoredFile, ...]:
        """Check the request's parameters as far as a new job must be right, and put its files into the result store."""
        ...


class UwsRoutes:
    """The job list at *path* and all under it, for tokens with *scope*; a new job counts as a request to
    *service_name*.

    Errors of these pages are plain text; a job's own is a VOTable.
    """

    def __init__(
        self,
        path: str,
        kind: JobKind,
        service: JobService,
        watch: PhaseWatch,
        web: WebContext,
        scope: Scope | None = None,
        service_name: Service | None = None,
    ) -> None:
        self._path = path
        self._scope: Scope | None = scope
        self._service_name: Service | None = service_name
        self._kind = kind
        self._service = service
        self._watch = watch
        self._web = web
        self._in_thread = web.in_state_thread

    def routes(self) -> list[PolicyRoute]:
        """All of UWS's addresses. Jobs are open to everyone here; the service asks whose they are."""
        large = Policy("open", "text", max_body_bytes=self._web.max_body_bytes, scope=self._scope)
        small = Policy("open", "text", max_body_bytes=self._web.limits.max_form_bytes, scope=self._scope)
        job = f"{self._path}/{{job_id}}"
        return [
            PolicyRoute(self._path, self.list_jobs, methods=["GET"], policy=small),
            PolicyRoute(self._path, self.create, methods=["POST"], policy=replace(large, service=self._service_name)),
            PolicyRoute(job, self.show, methods=["GET"], policy=small),
            PolicyRoute(job, self.change, methods=["POST"], policy=large),
            PolicyRoute(job, self.delete, methods=["DELETE"], policy=small),
            PolicyRoute(f"{job}/phase", self.phase, methods=["GET"], policy=small),
            PolicyRoute(f"{job}/phase", self.change, methods=["POST"], policy=small),
            PolicyRoute(f"{job}/executionduration", self.execution_duration, methods=["GET"], policy=small),
            PolicyRoute(f"{job}/executionduration", self.change, methods=["POST"], policy=small),
            PolicyRoute(f"{job}/destruction", self.destruction, methods=["GET"], policy=small),
            PolicyRoute(f"{job}/destruction", self.change, methods=["POST"], policy=small),
            PolicyRoute(f"{job}/quote", self.quote, methods=["GET"], policy=small),
            PolicyRoute(f"{job}/owner", self.owner, methods=["GET"], policy=small),
            PolicyRoute(f"{job}/error", self.error, methods=["GET"], policy=small),
            PolicyRoute(f"{job}/parameters", self.parameters, methods=["GET"], policy=small),
            PolicyRoute(f"{job}/parameters", self.change, methods=["POST"], policy=large),
            PolicyRoute(f"{job}/results", self.results, methods=["GET"], policy=small),
            PolicyRoute(f"{job}/results/{{result_id}}", self.result, methods=["GET"], policy=small),
        ]

    async def list_jobs(self, request: Request) -> Response:
        """GET the list, filtered by PHASE, AFTER and LAST (UWS 1.1 section 2.2.2.1)."""
        parameters = Parameters.of(request.query_params.multi_items())
        phases = [_phase(value) for value in parameters.many("PHASE")]
        after = parameters.text("AFTER")
        last = parameters.integer("LAST", minimum=1)
        principal = principal_of(request)
        lines = await self._in_thread(
            lambda: self._service.newest(
                self._kind.name, principal, phases=phases, after=_time("AFTER", after) if after else None, last=last
            )
        )
        return _xml(jobs_xml(lines, self._web.urls.of(request, self._path)))

    async def create(self, request: Request) -> Response:
        """POST a new job; 303 to it. PHASE=RUN starts it in the same request."""
        principal = principal_of(request)
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            run = parameters.choice("PHASE", ["RUN"]) is not None
            job_id = new_job_id()
            run_id = parameters.text("RUNID")
            limits = _Limits.of(parameters)
            files = await self._in_thread(lambda: self._kind.take_files(job_id, parameters))
            counted_for = fair_owner(request, principal)
            new = NewJob(self._kind.name, principal, _own_parameters(parameters), run_id, files, counted_for)
            await self._in_thread(lambda: self._create(new, job_id, limits, run))
        return self._see(request, job_id)

    def _create(self, new: NewJob, job_id: str, limits: _Limits, run: bool) -> None:
        try:
            job = self._service.create(new, job_id=job_id, run=run and not limits)
        except BaseException:
            self._service.results.delete_prefix(f"jobs/{job_id}/")
            raise
        if limits:
            limits.apply(self._service, job)
            if run:
                self._service.run(job)

    async def show(self, request: Request) -> Response:
        """GET the job; with WAIT, after its phase has changed or the time is over (UWS 1.1 section 2.2.1.1)."""
        job = await self._job(request)
        job = await self._wait(request, job)
        return _xml(job_xml(job, self._job_url(request, job.id)))

    async def change(self, request: Request) -> Response:
        """POST to the job or one of its parts: PHASE, ACTION, DESTRUCTION, EXECUTIONDURATION or its parameters."""
        job = await self._job(request)
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            if parameters.choice("ACTION", ["DELETE"]):
                await self._in_thread(lambda: self._service.delete(job))
                return self._see(request)
            await self._change(job, parameters)
        return self._see(request, job.id)

    async def _change(self, job: Job, parameters: Parameters) -> None:
        phase = parameters.choice("PHASE", ["RUN", "ABORT"])
        limits = _Limits.of(parameters)
        rest = Parameters.of(_own_parameters(parameters), parameters.files)
        if rest.pairs:
            self._service.check_pending(job)
            files = await self._in_thread(lambda: self._kind.take_files(job.id, rest))
            await self._in_thread(lambda: self._edit(job, rest, files))
        await self._in_thread(lambda: limits.apply(self._service, job))
        if phase == "RUN":
            await self._in_thread(lambda: self._service.run(job))
        elif phase == "ABORT":
            await self._in_thread(lambda: self._service.abort(job))
        elif not rest.pairs and not limits:
            raise BadParameter(
                "The request changes nothing.",
                allowed="PHASE=RUN|ABORT, ACTION=DELETE, DESTRUCTION, EXECUTIONDURATION, or parameters of the job",
            )

    def _edit(self, job: Job, rest: Parameters, files: tuple[StoredFile, ...]) -> None:
        try:
            self._service.edit(job, rest.pairs, files)
        except BaseException:
            for file in files:
                self._service.results.delete(file.key)
            raise

    async def delete(self, request: Request) -> Response:
        job = await self._job(request)
        await self._in_thread(lambda: self._service.delete(job))
        return self._see(request)

    async def phase(self, request: Request) -> Response:
        job = await self._wait(request, await self._job(request))
        return _text(job.phase)

    async def execution_duration(self, request: Request) -> Response:
        return _text(str((await self._job(request)).execution_duration_s))

    async def destruction(self, request: Request) -> Response:
        return _text(iso_time((await self._job(request)).destruction))

    async def quote(self, request: Request) -> Response:
        return _text(iso_time((await self._job(request)).quote))

    async def owner(self, request: Request) -> Response:
        job = await self._job(request)
        return _text(None if job.owner.kind == "anonymous" else job.owner.name)

    async def parameters(self, request: Request) -> Response:
        return _xml(parameters_xml(await self._job(request)))

    async def results(self, request: Request) -> Response:
        job = await self._job(request)
        return _xml(results_xml(job, self._job_url(request, job.id)))

    async def error(self, request: Request) -> Response:
        """GET the error document: a VOTable with status 200 (DALI 1.1 section 4.2), 404 where the job has no error."""
        job = await self._job(request)
        if job.error is None:
            raise NotFound("The job has no error.", value=f"phase {job.phase}")
        return Response(error_votable(job.error.message), media_type="application/x-votable+xml")

    async def result(self, request: Request) -> Response:
        """GET a result: the file with Range, or a redirect to a signed link in the object store."""
        job = await self._job(request)
        result = self._service.result(job, request.path_params["result_id"])
        return await self._in_thread(lambda: self._deliver(result))

    def _deliver(self, result: JobResult) -> Response:
        store = self._service.results
        headers = {"etag": f'"{result.sha256[:32]}"'}
        path = store.local_path(result.key)
        if path is not None:
            if not path.is_file():
                raise NotFound("The result is gone.", next_step="Run the job again.")
            return FileResponse(
                path,
                media_type=result.mime,
                headers=headers,
                filename=result.filename,
                content_disposition_type="inline",
            )
        settings = self._service.settings
        link = store.signed_url(result.key, settings.signed_link_s) if settings.signed_links else None
        if link is not None:
            return RedirectResponse(link, status_code=303, headers={"cache-control": "no-store"})
        return StoredResponse(store, result, headers)

    async def _wait(self, request: Request, job: Job) -> Job:
        parameters = Parameters.of(request.query_params.multi_items())
        seconds = parameters.integer("WAIT", minimum=-1)
        expected = parameters.text("PHASE")
        if seconds is None or job.phase not in ACTIVE or (expected and _phase(expected) != job.phase):
            return job
        longest = self._service.settings.max_wait_s
        await self._watch.wait(job.id, job.phase, longest if seconds < 0 else min(seconds, longest))
        return await self._job(request)

    async def _job(self, request: Request) -> Job:
        principal = principal_of(request)
        job_id = request.path_params["job_id"]
        return await self._in_thread(lambda: self._service.get(self._kind.name, job_id, principal))

    def _job_url(self, request: Request, job_id: str) -> str:
        return self._web.urls.of(request, f"{self._path}/{job_id}")

    def _see(self, request: Request, job_id: str | None = None) -> Response:
        url = self._job_url(request, job_id) if job_id else self._web.urls.of(request, self._path)
        return Response(status_code=303, headers={"location": url})


@dataclass(frozen=True, slots=True)
class _Limits:
    """A job's time limit and destruction, as a request sets them: when it makes the job, or later."""

    duration_s: int | None
    destruction: datetime | None

    @classmethod
    def of(cls, parameters: Parameters) -> _Limits:
        when = parameters.text("DESTRUCTION")
        return cls(
            parameters.integer("EXECUTIONDURATION", maximum=2**31 - 1), _time("DESTRUCTION", when) if when else None
        )

    def __bool__(self) -> bool:
        return self.duration_s is not None or self.destruction is not None

    def apply(self, service: JobService, job: Job) -> None:
        if self.duration_s is not None:
            service.set_execution_duration(job, self.duration_s)
        if self.destruction is not None:
            service.set_destruction(job, self.destruction)


def _own_parameters(parameters: Parameters) -> tuple[tuple[str, str], ...]:
    """The parameters that are the job's, without those that speak to UWS."""
    return tuple((name, value) for name, value in parameters if name not in _CONTROL)


def _phase(value: str) -> Phase:
    try:
        return Phase(value.upper())
    except ValueError:
        raise BadParameter("PHASE has a value that is not allowed.", value=value, allowed=", ".join(Phase)) from None


def _time(name: str, value: str) -> datetime:
    """A DALI timestamp in UTC, with or without the Z that UWS asks for."""
    try:
        time = datetime.fromisoformat(value)
        utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        utc.timestamp()
    except (ValueError, OverflowError):
        raise BadParameter(
            f"{name} is not a time.", value=value, allowed="ISO 8601 in UTC, such as 2026-11-23T20:00:00Z"
        ) from None
    return utc


def _xml(body: bytes) -> Response:
    return Response(body, media_type="text/xml", headers={"cache-control": "no-store"})


def _text(text: str | None) -> Response:
    return Response(text or "", media_type="text/plain", headers={"cache-control": "no-store"})
