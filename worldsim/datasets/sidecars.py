"""What is said of a folder's videos, in files that lie beside them.

`captions.txt` has a line for each video or one for all, `captions.csv` the columns `video`,
`caption` and, where a film says several things, `frame`; `a.txt` tells of `a.mp4` alone. Later ones
of these go before earlier ones.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

Fault = tuple[str, str]  # which file, and what is wrong with it
NUMBERING = ("", "index", "__index_level_0__", "unnamed: 0", "timestamp")  # columns left out
NAMED = ("video", "frame", "caption", "action", "reward", "terminated", "truncated", "done")
Said = dict[Path, list[tuple[int, str]]]  # of each video, by the frame from which on it holds


def read_captions(root: Path, paths: list[Path], faults: list[Fault]) -> Said:
    """Return what is said of each video of a folder.

    Args:
        root: The folder.
        paths: Its videos.
        faults: Where to add what is wrong with the files that say it.
    """
    said: Said = {}
    lines, table = root / "captions.txt", root / "captions.csv"
    sources = [(lines, _one_line_each), (table, _captions_of_table)]
    own = [path.with_suffix(".txt") for path in paths]
    sources += [(path, _whole_text) for path in own if path != lines]
    for path, read in sources:
        if path.is_file():
            try:
                said |= read(path, root, paths)
            except (pa.ArrowInvalid, OSError, ValueError) as error:
                faults.append((str(path.relative_to(root)), str(error)))
    return said


def _one_line_each(path: Path, root: Path, paths: list[Path]) -> Said:
    """Read a caption for each video, or one for all."""
    texts = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if len(texts) not in (1, len(paths)):
        raise ValueError(f"must hold 1 line or {len(paths)}, one for each video, got {len(texts)}")
    texts = texts * (len(paths) if len(texts) == 1 else 1)
    return {video: [(0, text)] for video, text in zip(paths, texts, strict=True)}


def _captions_of_table(path: Path, root: Path, paths: list[Path]) -> Said:
    """Read captions by video and, where there is such a column, by frame."""
    rows = read_csv(path).to_pylist()
    if not rows or not {"video", "caption"} <= rows[0].keys():
        raise ValueError("must have the columns `video` and `caption`")
    known = {str(p.relative_to(root)): p for p in paths}
    gone = [row["video"] for row in rows if row["video"] not in known]
    if gone:
        raise ValueError(f"names the video {gone[0]!r}, which is not there")
    said: Said = {}
    for row in rows:
        frame = row.get("frame") or 0
        if not isinstance(frame, int | float) or frame != frame // 1:
            raise ValueError(f"its column 'frame' must hold whole numbers, got {frame!r}")
        said.setdefault(known[row["video"]], []).append((int(frame), row["caption"]))
    # nothing is said of what comes before the first frame that is named
    return {video: [(0, "")] * (min(parts)[0] > 0) + sorted(parts) for video, parts in said.items()}


def _whole_text(path: Path, root: Path, paths: list[Path]) -> Said:
    """Read the text that lies beside a video of the same name."""
    text = " ".join(read_text(path).split())
    return {video: [(0, text)] for video in paths if video.with_suffix(".txt") == path}


def read_text(path: Path) -> str:
    """Read a file of text, with or without a mark of its encoding.

    Raises:
        ValueError: If it is not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("must be text in UTF-8, got another encoding; save it as UTF-8")
    return text


def read_csv(path: Path) -> pa.Table:
    """Read a table; videos and captions stay as they are written.

    Raises:
        ValueError: If it is not UTF-8, or no table.
    """
    data = read_text(path).encode()
    names = pyarrow.csv.open_csv(pa.BufferReader(data)).schema.names
    words = {name: pa.string() for name in names if _plain(name) in ("video", "caption")}
    options = pyarrow.csv.ConvertOptions(column_types=words)
    return name_columns(pyarrow.csv.read_csv(pa.BufferReader(data), convert_options=options))


def name_columns(table: pa.Table) -> pa.Table:
    """Leave out the columns of a table that only number its rows, and name the others plainly.

    Raises:
        ValueError: If two columns have one name.
    """
    kept = [i for i, name in enumerate(table.column_names) if _plain(name) not in NUMBERING]
    table = table.select(kept)
    plain = [_plain(name) for name in table.column_names]
    pairs = zip(table.column_names, plain, strict=True)
    names = [known if known in NAMED else name.strip() for name, known in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"must name each column once, got {twice[0]!r} twice; rename one")
    return table.rename_columns(names)


def _plain(name: str) -> str:
    return name.strip().lower()
