"""TAP's asynchronous half: what a query job keeps, and how a worker runs it."""

from __future__ import annotations

import secrets
import shutil
from contextlib import ExitStack

from idac.catalogs.snapshot import TableEntry
from idac.core.store import Store
from idac.jobs.model import Job, JobProgress, StoredFile
from idac.jobs.workers import Produced, RunContext
from idac.query.service import QueryRequest, QueryService, RunningQuery
from idac.query.tap_request import TapRequest, parse_tap_request
from idac.query.upload_specs import parse_uploads
from idac.query.uploads import Uploads, find_file
from idac.web.parameters import Parameters

#: Where UWS jobs are.
JOBS_PATH = "/api/tap/async"
#: Seconds that the engine gives a job beyond its time: the worker, which ends it as ABORTED, is the one to say so.
_SPARE_S = 60.0


class TapJobs:
    """The job kind ``tap``. A query is checked when it runs (DALI 1.1 section 4.2), its uploads when they come."""

    name = "tap"

    def __init__(self, service: QueryService, uploads: Uploads, results: Store) -> None:
        self._service = service
        self._uploads = uploads
        self._results = results

    def take_files(self, job_id: str, parameters: Parameters) -> tuple[StoredFile, ...]:
        """Inline uploads of a request as Parquet in the result store; addresses are fetched when the job runs."""
        specs = parse_uploads(parameters.many("UPLOAD"), self._service.settings.uploads)
        inline = [spec for spec in specs if spec.inline is not None]
        for spec in inline:
            find_file(spec, parameters.files)
        # Keys of their own: a change that comes too late must not touch what a running job reads.
        folder = f"jobs/{job_id}/uploads/{secrets.token_hex(8)}"
        return tuple(
            self._uploads.put(spec, parameters.files, f"{folder}/{spec.name}.parquet", self._results) for spec in inline
        )

    def run(self, job: Job, context: RunContext) -> Produced:
        """Run the job's query; the answer is written by the worker that asked."""
        request = parse_tap_request(Parameters.of(job.parameters), self._service.settings.uploads)
        with ExitStack() as cleanup:
            uploads = self._take_uploads(job, request, context, cleanup)
            query_id = f"{job.id}.{job.attempt}"
            context.on_cancel(lambda: self._service.cancel(query_id))
            query = QueryRequest(
                adql=request.adql,
                format=request.format,
                timeout_s=job.execution_duration_s + _SPARE_S,
                max_rows=request.max_rows,
                uploads=uploads,
                infos=result_infos(request),
            )
            running = self._service.run(query, job.owner, query_id=query_id)
            cleanup.callback(running.close)
            context.on_cancel(running.cancel)
            context.report(lambda: _progress(running))
            keep = cleanup.pop_all()
        return Produced(running.chunks(), request.format.mime, request.format.extension, keep.close)

    def _take_uploads(
        self, job: Job, request: TapRequest, context: RunContext, cleanup: ExitStack
    ) -> dict[str, TableEntry]:
        if not request.uploads:
            return {}
        self._service.check_tables(request.adql, job.owner, [spec.name for spec in request.uploads])
        folder = self._uploads.new_folder()
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        # A file whose name was later given to an address is not asked for any more.
        inline = {spec.name for spec in request.uploads if spec.inline is not None}
        stored = {file.name: file for file in job.files if file.name in inline}
        by_address = [spec for spec in request.uploads if spec.name not in stored]
        tables = self._uploads.stage(by_address, {}, folder, lambda: context.cancelled)
        for name, file in stored.items():
            tables[name] = self._uploads.take(file, self._results, folder)
        return tables


def result_infos(request: TapRequest) -> tuple[tuple[str, str, str], ...]:
    """What the answer says of the request, so that a file on its own still tells where it comes from."""
    infos = [("QUERY", request.adql, "")]
    if request.run_id:
        infos.append(("RUNID", request.run_id, ""))
    return tuple(infos)


def _progress(running: RunningQuery) -> JobProgress:
    progress = running.progress()
    return JobProgress(progress.fraction, progress.rows)
