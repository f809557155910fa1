"""The IVOA's XML schemas as STILTS carries them, so that documents can be validated without a network."""

from __future__ import annotations

import zipfile
from pathlib import Path

_JAR = Path("/usr/share/java/starlink-ttools.jar")
_FOLDER = "uk/ac/starlink/ttools/taplint"
_FILES = {
    "http://www.ivoa.net/xml/UWS/v1.0": "UWS-v1.1.xsd",
    "http://www.w3.org/1999/xlink": "xlink.xsd",
    "http://www.ivoa.net/xml/VOSITables/v1.0": "VOSITables-v1.1.xsd",
    "http://www.ivoa.net/xml/VODataService/v1.1": "VODataService-v1.2.xsd",
    "http://www.ivoa.net/xml/VOResource/v1.0": "VOResource-v1.1.xsd",
    "http://www.ivoa.net/xml/STC/stc-v1.30.xsd": "stc-v1.30.xsd",
}


def schema_arguments(folder: Path) -> list[str]:
    """``xsdvalidate``'s arguments that give each namespace its schema, unpacked into *folder*."""
    with zipfile.ZipFile(_JAR) as jar:
        for name in _FILES.values():
            (folder / name).write_bytes(jar.read(f"{_FOLDER}/{name}"))
    return [f"schemaloc={namespace}={folder / name}" for namespace, name in _FILES.items()]
