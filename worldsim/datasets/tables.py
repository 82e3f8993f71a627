"""What was done in a folder's videos, in tables that lie beside them.

`a.csv` or `a.parquet` hold the actions of `a.mp4`, `actions.csv` or `.parquet` those of all, with a
column `video`. Row `i` is what was done after frame `i`. A column `frame` (from 0) says which frame
a row means; frames without a row, and empty cells, have no action label. `reward`, `terminated` and
`truncated` are taken as such, 0 where a cell is empty. Columns that only number the rows or tell
the time are left out (`sidecars.NUMBERING`); every other column is a number of the action.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldsim.datasets.sidecars import Fault, name_columns, read_csv

TABLES = (".csv", ".parquet")
TOLD = ("video", "frame", "reward", "terminated", "truncated")  # columns that are no action
STRANGE = {
    "caption": "which belongs in captions.csv",
    "done": "which may mean either: call it `terminated`, or `truncated` where it was cut off",
}


def read_tables(root: Path, paths: list[Path], faults: list[Fault]) -> dict[Path, pa.Table]:
    """Read the actions of each video that has some."""
    tables = {}
    for suffix in TABLES:
        common = root / f"actions{suffix}"
        if common.is_file() and (table := _read_table(common, root, faults)) is not None:
            if "video" not in table.column_names:
                faults.append((common.name, "must have the column `video`, as it is for all"))
                continue
            named = np.array(list(map(str, table["video"].to_pylist())), object)
            known = {str(p.relative_to(root)): p for p in paths}
            strange = sorted(set(named) - set(known))
            faults += [(common.name, f"names the video {name!r}, which is not there")
                       for name in strange]  # fmt: skip
            for name, path in known.items():
                if (named == name).any():
                    tables[path] = table.filter(pa.array(named == name))
        for path in paths:
            own = path.with_suffix(suffix)
            if own.is_file() and (table := _read_table(own, root, faults)) is not None:
                tables[path] = table
    return tables


def unread_tables(root: Path, files: list[Path], videos: list[Path]) -> list[Fault]:
    """Tell of tables whose names say of no video that they are its actions."""
    read = {root / f"actions{suffix}" for suffix in TABLES} | {root / "captions.csv"}
    read |= {path.with_suffix(suffix) for path in videos for suffix in TABLES}
    unread = [p for p in files if p.suffix.lower() in TABLES and p not in read]
    return [(str(p.relative_to(root)), "is named like no video; rename it") for p in unread]


def _read_table(path: Path, root: Path, faults: list[Fault]) -> pa.Table | None:
    name = str(path.relative_to(root))
    try:
        table = read_csv(path) if path.suffix == ".csv" else name_columns(pq.read_table(path))
    except (pa.ArrowInvalid, OSError) as error:
        faults.append((name, f"cannot be read: {error}"))
        return None
    except ValueError as error:
        faults.append((name, str(error)))
        return None
    for strange, way_out in STRANGE.items():
        if strange in table.column_names:
            faults.append((name, f"has a column {strange!r}, {way_out}"))
            return None
    if not action_names(table):
        faults.append((name, "has no column that holds actions"))
        return None
    return table


def action_names(table: pa.Table) -> list[str]:
    """Return the columns of a table that are numbers of an action."""
    return [name for name in table.column_names if name not in TOLD]


def columns_of(table: pa.Table | None, names: list[str], count: int) -> dict[str, np.ndarray]:
    """Lay a table's rows out over the `count` frames of a video.

    Returns:
        `actions`, `rewards`, `terminated` and, where there is such a column, `truncated`.

    Raises:
        ValueError: If columns are missing, are no numbers, or do not fit the video.
    """
    columns = {
        "actions": np.full((count, len(names)), np.nan),
        "rewards": np.zeros(count, np.float32),
        "terminated": np.zeros(count, bool),
    }
    if table is None:
        return columns
    missing = [name for name in names if name not in table.column_names]
    more = [name for name in action_names(table) if name not in names]
    if missing or more:
        raise ValueError(
            f"its actions lack the columns {missing}, and have {more} that others lack"
        )
    values = _numbers(table)
    at = _frames_of_rows(values.get("frame"), table.num_rows, count)
    columns["actions"][at] = np.stack([values[name] for name in names], 1)
    if "reward" in values:
        rewards = np.nan_to_num(values["reward"], posinf=np.inf, neginf=-np.inf)
        if len(wrong := rewards[np.abs(rewards) > np.finfo(np.float32).max]):
            raise ValueError(f"its column 'reward' must be finite, got {wrong[0]:g}")
        columns["rewards"][at] = rewards
    for name in ("terminated", "truncated"):
        if name in values:
            columns.setdefault(name, np.zeros(count, bool))[at] = np.nan_to_num(values[name])
    return columns


def _numbers(table: pa.Table) -> dict[str, np.ndarray]:
    """Return every column of a table but the names of videos, NaN where a cell is empty."""
    values = {}
    for name in [name for name in table.column_names if name != "video"]:
        try:
            values[name] = table[name].cast(pa.float64()).to_numpy()
        except pa.ArrowException as error:
            raise ValueError(f"its column {name!r} must be numbers: {error}") from None
    return values


def _frames_of_rows(frame: np.ndarray | None, rows: int, count: int) -> np.ndarray:
    """Return which of `count` frames each row means."""
    if frame is None:
        if count - rows not in (0, 1):
            raise ValueError(
                f"shows {count} frames, which {count - 1} or {count} rows of actions fit, got "
                f"{rows}; a column `frame` can say which are meant"
            )
        return np.arange(rows)
    if np.isnan(frame).any():
        raise ValueError("its column 'frame' must say which frame each row means, got gaps")
    if len(wrong := frame[frame != np.rint(frame)]):
        raise ValueError(f"its column 'frame' must hold whole numbers, got {wrong[0]:g}")
    if len(frame) and not 0 <= frame.min() <= frame.max() < count:
        raise ValueError(f"shows {count} frames, its actions name {frame.min():g}..{frame.max():g}")
    own, times = np.unique(frame, return_counts=True)
    if (times > 1).any():
        raise ValueError(f"its column 'frame' must name each once, got {own[times > 1][0]:g} twice")
    return frame.astype(np.int64)
