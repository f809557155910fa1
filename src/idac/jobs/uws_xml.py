"""UWS 1.1 documents of jobs (schema http://www.ivoa.net/xml/UWS/v1.0, version 1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from xml.etree import ElementTree as ET

from idac.core.principal import Principal
from idac.jobs.model import Job, JobLine, Phase
from idac.web.faces import xml_text

_ROOT = {
    "xmlns:uws": "http://www.ivoa.net/xml/UWS/v1.0",
    "xmlns:xlink": "http://www.w3.org/1999/xlink",
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
}


def job_xml(job: Job, url: str) -> bytes:
    """The whole job; *url* is its own address."""
    root = ET.Element("uws:job", {**_ROOT, "version": "1.1"})
    _text(root, "jobId", job.id)
    if job.run_id:
        _text(root, "runId", job.run_id)
    _text(root, "ownerId", _owner(job.owner.name, job.owner))
    _text(root, "phase", job.phase)
    _text(root, "quote", iso_time(job.quote))
    _text(root, "creationTime", iso_time(job.created))
    _text(root, "startTime", iso_time(job.started))
    _text(root, "endTime", iso_time(job.ended))
    _text(root, "executionDuration", str(job.execution_duration_s))
    _text(root, "destruction", iso_time(job.destruction))
    _add_parameters(ET.SubElement(root, "uws:parameters"), job)
    _add_results(ET.SubElement(root, "uws:results"), job, url)
    if job.error:
        kind = "transient" if job.error.transient else "fatal"
        summary = ET.SubElement(root, "uws:errorSummary", {"type": kind, "hasDetail": "true"})
        _text(summary, "message", job.error.message)
    _add_info(root, job)
    return _bytes(root)


def jobs_xml(lines: Iterable[JobLine], base_url: str) -> bytes:
    """A list of jobs; each refers to *base_url*/id."""
    root = ET.Element("uws:jobs", {**_ROOT, "version": "1.1"})
    for line in lines:
        node = ET.SubElement(root, "uws:jobref", {"id": line.id, "xlink:type": "simple"})
        node.set("xlink:href", f"{base_url}/{line.id}")
        _text(node, "phase", line.phase)
        if line.run_id:
            _text(node, "runId", line.run_id)
        _text(node, "ownerId", line.owner)
        _text(node, "creationTime", iso_time(line.created))
    return _bytes(root)


def parameters_xml(job: Job) -> bytes:
    root = ET.Element("uws:parameters", _ROOT)
    _add_parameters(root, job)
    return _bytes(root)


def results_xml(job: Job, url: str) -> bytes:
    root = ET.Element("uws:results", _ROOT)
    _add_results(root, job, url)
    return _bytes(root)


def iso_time(time: datetime | None) -> str | None:
    """UTC with milliseconds, as DALI 1.1 section 3.3.3 and XML Schema both read it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z" if time is not None else None


def _owner(name: str, principal: Principal) -> str | None:
    return None if principal.kind == "anonymous" else name


def _add_parameters(root: ET.Element, job: Job) -> None:
    for name, value in job.parameters:
        node = ET.SubElement(root, "uws:parameter", {"id": name})
        node.text = xml_text(value)


def _add_results(root: ET.Element, job: Job, url: str) -> None:
    for result in job.results:
        node = ET.SubElement(root, "uws:result", {"id": result.id, "xlink:type": "simple"})
        node.set("xlink:href", f"{url}/results/{result.id}")
        node.set("size", str(result.size))
        node.set("mime-type", result.mime)


def _add_info(root: ET.Element, job: Job) -> None:
    if job.phase not in (Phase.QUEUED, Phase.EXECUTING):
        return
    info = ET.SubElement(root, "uws:jobInfo")
    progress = ET.SubElement(info, "progress", {"attempt": str(job.attempt)})
    if job.progress.fraction is not None:
        ET.SubElement(progress, "fraction").text = f"{job.progress.fraction:.3f}"
    if job.progress.rows is not None:
        ET.SubElement(progress, "rows").text = str(job.progress.rows)


def _text(root: ET.Element, tag: str, text: str | None) -> None:
    node = ET.SubElement(root, f"uws:{tag}")
    if text is None:
        node.set("xsi:nil", "true")
    else:
        node.text = xml_text(text)


def _bytes(root: ET.Element) -> bytes:
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body
