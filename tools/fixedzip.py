"""Writes zip files that are byte for byte the same on every machine and every day."""

import io
import os
import zipfile

# The earliest time that a zip can hold, and a mode, so that no clock and no umask shows.
TIME = (1980, 1, 1, 0, 0, 0)
MODE = 0o100644


def zip_bytes(files):
    """Takes a dict of name to bytes; returns a zip (bytes) of them: sorted, with fixed times and modes.

    Stored, not compressed: a deflate library of another version packs the same file into other bytes.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, TIME)
            entry.create_system = 3  # Unix, whatever system this runs on: MODE is a Unix mode
            entry.external_attr = MODE << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def write_whole(path, content):
    """Writes content (bytes) to path, complete or not at all: a killed run leaves no half file under that name."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
