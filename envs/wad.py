"""Doom's archive format: a header, lumps of bytes, a directory of names.

Reference:
    https://doomwiki.org/wiki/WAD
"""

import struct
from pathlib import Path

Lump = tuple[str, bytes]


def read_wad(path: str | Path) -> list[Lump]:
    """Return the lumps of an archive in their order; names may repeat.

    Raises:
        ValueError: If the file is no WAD.
    """
    data = Path(path).read_bytes()
    if data[:4] not in (b"IWAD", b"PWAD"):
        raise ValueError(f"a WAD begins with IWAD or PWAD, got {data[:4]!r} in {path}")
    count, directory = struct.unpack_from("<ii", data, 4)
    lumps = []
    for start, size, name in struct.iter_unpack("<ii8s", data[directory : directory + 16 * count]):
        lumps.append((name.rstrip(b"\0").decode("ascii"), data[start : start + size]))
    return lumps


def write_wad(path: str | Path, lumps: list[Lump]) -> None:
    """Write lumps as a PWAD, which adds to the game's own archive."""
    directory, offset = b"", 12
    for name, data in lumps:
        directory += struct.pack("<ii8s", offset, len(data), name.encode("ascii"))
        offset += len(data)
    header = struct.pack("<4sii", b"PWAD", len(lumps), offset)
    Path(path).write_bytes(header + b"".join(data for _, data in lumps) + directory)
