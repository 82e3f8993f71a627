"""Anybody's recordings become a data set, or a table says what is wrong with them."""

import json
import shutil
import struct
from fractions import Fraction

import av
import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

import worldsim
from worldsim.cli import main
from worldsim.conversion import SourceFaults, action_space, convert, resample
from worldsim.data import open_dataset
from worldsim.datasets.episodes import DatasetInfo
from worldsim.datasets.lerobot_writer import write_layout
from worldsim.datasets.splicing import merge, split
from worldsim.datasets.subsets import by_film, hold_out
from worldsim.datasets.takes import read_folder
from worldsim.datasets.writing import DatasetWriter
from worldsim.filmed import open_env

H, W = 48, 64


def write_foreign(path, greys, fps, size=(H, W), stamps=None, **muxer):
    """Write what cameras write: yuv420p with B-frames and few key frames, a grey per frame.

    `stamps` are the times of frames of uneven pace, in units of `1 / fps`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", **muxer) as container:
        options = {"crf": "16", "g": "30", "bf": "2"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for i, grey in enumerate(greys):
            picture = np.full((*size, 3), grey, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = int(stamps[i]), Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def ramp(n, start=20):
    return (start + 3 * np.arange(n)).astype(np.uint8)


def greys(episode):
    return episode.frames.astype(float).mean((1, 2, 3))


def write_rows(path, columns):
    path.write_text(
        "\n".join(
            [",".join(columns), *map(str.strip, map(_row, zip(*columns.values(), strict=True)))]
        )
    )


def _row(values):
    return ",".join("" if v is None else str(v) for v in values)


@pytest.fixture
def videos(tmp_path):
    """Two videos with actions and captions, one without."""
    root = tmp_path / "videos"
    write_foreign(root / "a.mp4", ramp(30), 30)
    write_foreign(root / "sub/b.mkv", ramp(30, 100), 30)
    write_foreign(root / "c.mp4", ramp(20), 15)
    write_rows(root / "a.csv", {"steer": np.linspace(-1, 1, 29), "gas": np.arange(29) % 2})
    table = {"frame": [4, 5], "steer": [0.5, 0.25], "gas": [1.0, None], "reward": [2.0, 0.0]}
    pq.write_table(pa.table(table), root / "sub/b.parquet")
    (root / "c.txt").write_text("a quiet street\n")
    rows = [["video", "frame", "caption"], ["a.mp4", 0, "day"], ["a.mp4", 14, "night"]]
    (root / "captions.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    return root


def test_a_folder_of_videos_is_resampled_with_its_actions_and_captions(videos, tmp_path):
    dataset = convert(videos, tmp_path / "set", progress=False)
    info = dataset.info
    assert (info.fps, info.frame_size) == (15, (H, W)) and len(dataset) == 3
    assert info.action_space == spaces.Box(np.float32([-1, 0]), np.float32([1, 1]))
    a, c, b = dataset
    np.testing.assert_allclose(greys(a), ramp(30)[::2], atol=3)
    steer = np.linspace(-1, 1, 29)
    np.testing.assert_allclose(a.actions[:, 0], (steer[:-1:2] + steer[1::2]) / 2, atol=1e-5)
    np.testing.assert_allclose(a.actions[:, 1], 0.5)
    assert a.action_known.all() and len(a) == 14
    assert [a.captions[i] for i in a.caption_index] == ["day"] * 7 + ["night"] * 8
    assert c.captions == ("a quiet street",) and not c.action_known.any() and len(c) == 19
    assert not b.action_known.any()  # an action is known where both frames that it covers say so
    assert b.rewards.tolist() == [0, 0, 2] + [0] * 11
    assert info.keys[0] == [["left"], [-1.0, 0.0]]


def test_clips_without_labels_train_beside_labelled_ones(videos, tmp_path):
    for name in ("captions.csv", "c.txt"):  # without words, no text encoder has to load
        (videos / name).unlink()
    convert(videos, tmp_path / "set", fps=10, frame_size=(16, 16), progress=False)
    world = _train(tmp_path / "set", tmp_path / "run")
    assert world.cfg.fps == 10 and world.cfg.frame_size == (16, 16)


def test_whole_numbers_in_one_column_are_choices(tmp_path):
    write_foreign(tmp_path / "videos/a.mp4", ramp(12), 10)
    (tmp_path / "videos/actions.csv").write_text(
        "video,action\n" + "\n".join(f"a.mp4,{i % 3}" for i in range(12))
    )
    dataset = convert(tmp_path / "videos", tmp_path / "set", progress=False)
    assert dataset.info.action_space == spaces.Discrete(3)
    assert dataset[0].actions.argmax(1).tolist() == [i % 3 for i in range(11)]


def test_empty_cells_are_no_reward_and_no_end(tmp_path):
    write_foreign(tmp_path / "videos/a.mp4", ramp(5), 10)
    (tmp_path / "videos/a.csv").write_text("action,reward,terminated\n0,,\n1,2.5,\n0,,\n1,,true\n")
    (episode,) = convert(tmp_path / "videos", tmp_path / "set", progress=False)
    assert episode.rewards.tolist() == [0, 2.5, 0, 0]
    assert episode.terminated.tolist() == [False, False, False, True]


def test_what_is_earned_and_ends_after_the_last_kept_frame_is_kept(tmp_path):
    """At half the pace every second ending was lost."""
    write_foreign(tmp_path / "videos/a.mp4", ramp(6), 10)
    rows = "\n".join(f"{i % 2},1,{i == 4}".lower() for i in range(5))
    (tmp_path / "videos/a.csv").write_text(f"action,reward,terminated\n{rows}\n")
    (episode,) = convert(tmp_path / "videos", tmp_path / "set", fps=5, progress=False)
    assert episode.rewards.tolist() == [2, 3]
    assert episode.terminated.tolist() == [False, True]


def test_a_row_for_the_last_frame_tells_how_it_ends(tmp_path):
    """A table of a row per frame once told of no end at all."""
    write_foreign(tmp_path / "videos/a.mp4", ramp(4), 10)
    (tmp_path / "videos/a.csv").write_text(
        "action,reward,terminated\n0,1,false\n1,1,false\n0,1,false\n1,5,true\n"
    )
    (episode,) = convert(tmp_path / "videos", tmp_path / "set", progress=False)
    assert episode.rewards.tolist() == [1, 1, 6]
    assert episode.terminated.tolist() == [False, False, True]


@pytest.mark.parametrize("header", [",", "index,", "__index_level_0__,", "timestamp,", "Index , "])
def test_columns_that_number_the_rows_are_no_actions(tmp_path, header):
    """The index that pandas writes was taken for a number of the action."""
    write_foreign(tmp_path / "in/a.mp4", ramp(5), 10)
    rows = "\n".join(f"{i},{i % 2},{i}" for i in range(4))
    (tmp_path / "in/a.csv").write_text(f"{header}action,reward\n{rows}\n")
    dataset = convert(tmp_path / "in", tmp_path / "out", progress=False)
    assert dataset.info.action_space == spaces.Discrete(2)
    assert dataset[0].rewards.tolist() == [0, 1, 2, 3]


def test_columns_are_known_in_any_case_and_ends_of_both_kinds_are_told(tmp_path):
    """`Reward` and ` terminated` were numbers of the action, and so was `truncated`."""
    write_foreign(tmp_path / "in/a.mp4", ramp(5), 10)
    rows = "".join(f"{i % 2},{i},false,{i == 3}\n".lower() for i in range(4))
    (tmp_path / "in/a.csv").write_text("Action,Reward, terminated,TRUNCATED\n" + rows)
    dataset = convert(tmp_path / "in", tmp_path / "out", progress=False)
    assert dataset.info.recording["names"] == ["action"]
    (episode,) = dataset
    assert episode.rewards.tolist() == [0, 1, 2, 3] and not episode.terminated.any()
    assert episode.truncated.tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    "table, says",
    [
        ("frame,action\n0,1\n0,0\n", "a.mp4 .*'frame' must name each once, got 0 twice"),
        ("frame,action\n0.5,1\n1.5,0\n", "a.mp4 .*'frame' must hold whole numbers, got 0.5"),
        ("action,reward\n" + "1,inf\n" * 4, "a.mp4 .*'reward' must be finite, got inf"),
        ("action,reward\n" + "1,-1e99\n" * 4, "a.mp4 .*'reward' must be finite, got -1e"),
        ("steer,steer\n" + "1,2\n" * 4, "a.csv .*name each column once, got 'steer' twice"),
        ("Reward,action,reward\n" + "1,2,3\n" * 4, "a.csv .*once, got 'reward' twice"),
        ("action,done\n" + "1,0\n" * 4, "a.csv .*has a column 'done', which may mean either"),
    ],
)
def test_tables_that_say_no_one_thing_are_faults(tmp_path, table, says):
    """The last of two rows for a frame won, half frames were rounded, rewards were infinite."""
    write_foreign(tmp_path / "in/a.mp4", ramp(5), 10)
    (tmp_path / "in/a.csv").write_text(table)
    with pytest.raises(SourceFaults, match=says):
        convert(tmp_path / "in", tmp_path / "out", progress=False)


def test_a_mark_of_the_encoding_is_no_part_of_what_is_said(tmp_path):
    for name in ("a", "b", "c"):
        write_foreign(tmp_path / f"in/{name}.mp4", ramp(5), 10)
    (tmp_path / "in/a.txt").write_text("un caf\u00e9\n", "utf-8-sig")
    (tmp_path / "in/captions.txt").write_text("x\ny\nz\n", "utf-8-sig")
    (tmp_path / "in/captions.csv").write_text("Video,Caption\nb.mp4,007\n", "utf-8-sig")
    (tmp_path / "in/a.csv").write_text("action\n" + "1\n" * 4, "utf-8-sig")
    dataset = convert(tmp_path / "in", tmp_path / "out", progress=False)
    assert [e.captions for e in dataset] == [("un caf\u00e9",), ("007",), ("z",)]
    assert dataset.info.recording["names"] == ["action"]


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "captions.csv", "captions.txt"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
def test_text_in_another_encoding_is_a_fault_of_its_file(tmp_path, name, encoding):
    """A caption was told as b'un caf\\xe9', and a header ended in a UnicodeDecodeError."""
    write_foreign(tmp_path / "in/a.mp4", ramp(5), 10)
    rows = {"a.csv": "vit\u00e9\n1\n", "captions.csv": "video,caption\na.mp4,vit\u00e9\n"}
    (tmp_path / "in" / name).write_text(rows.get(name, "vit\u00e9\n"), encoding)
    with pytest.raises(SourceFaults, match=rf"  {name} +must be text in UTF-8"):
        convert(tmp_path / "in", tmp_path / "out", progress=False)


def test_captions_hold_from_the_frame_that_is_named(tmp_path):
    write_foreign(tmp_path / "videos/a.mp4", ramp(6), 10)
    table = tmp_path / "videos/captions.csv"
    table.write_text("video,frame,caption\na.mp4,2,rain\na.mp4,4,snow\n")
    (episode,) = convert(tmp_path / "videos", tmp_path / "set", progress=False)
    said = [episode.captions[i] for i in episode.caption_index]
    assert said == ["", "", "rain", "rain", "snow", "snow"]
    table.write_text("video,frame,caption\na.mp4,1.5,rain\n")
    with pytest.raises(SourceFaults, match="'frame' must hold whole numbers, got 1.5"):
        convert(tmp_path / "videos", tmp_path / "other", progress=False)
    table.write_text("video,frame,caption\na.mp4,6,rain\n")
    with pytest.raises(SourceFaults, match="has frames 0..5, a caption names frame 6"):
        convert(tmp_path / "videos", tmp_path / "other", progress=False)


def test_long_videos_are_cut_where_one_part_ends_the_next_begins(tmp_path, monkeypatch):
    monkeypatch.setattr("worldsim.conversion.MOST_FRAMES", 10)
    write_foreign(tmp_path / "videos/a.mp4", ramp(35), 10)
    dataset = convert(tmp_path / "videos", tmp_path / "set", progress=False)
    assert dataset.lengths == [10, 10, 10, 4]
    joined = np.concatenate([greys(dataset[0]), *(greys(e)[1:] for e in list(dataset)[1:])])
    np.testing.assert_allclose(joined, ramp(35), atol=3)


def test_parts_of_one_film_are_not_judged_by_each_other(tmp_path, monkeypatch):
    """Parts were dealt out one by one: half of a film was learned from, and the rest judged by."""
    monkeypatch.setattr("worldsim.conversion.MOST_FRAMES", 10)
    for name, frames in (("a", 35), ("b", 25), ("c", 8)):
        write_foreign(tmp_path / f"videos/{name}.mp4", ramp(frames), 10)
    whole = convert(tmp_path / "videos", tmp_path / "set", progress=False)
    assert by_film(whole) == [[0, 1, 2, 3], [4, 5, 6], [7]]
    for seed in range(4):
        parts = split(tmp_path / "set", tmp_path / f"{seed}", test=0.3, seed=seed)
        films = [{e.scene.get("film", "c.mp4") for e in part} for part in parts]
        assert not films[0] & films[1] and len(films[0] | films[1]) == 3
    train, held = hold_out(whole, None)
    assert (train.index, held.index) == ([0, 1, 2, 3, 4, 5, 6], [7])


@pytest.mark.parametrize(
    "stamps, fps, lengths",
    [
        (1001 * np.arange(600), 30, [150, 150, 150, 149]),  # 29.97 frames a second
        (3000 * np.r_[0:40, 40:80:0.25], 24, [150, 41]),  # 10 frames a second, then 40
    ],
)
def test_frames_keep_their_labels_at_an_uneven_pace(tmp_path, monkeypatch, stamps, fps, lengths):
    """A frame shown twice once stopped the conversion; labels once drifted away from frames."""
    monkeypatch.setattr("worldsim.conversion.MOST_FRAMES", 150)
    shown = np.linspace(20, 220, len(stamps))
    write_foreign(tmp_path / "videos/a.mp4", shown, 30_000, (16, 16), stamps)
    write_rows(tmp_path / "videos/a.csv", {"grey": shown})
    dataset = convert(tmp_path / "videos", tmp_path / "set", progress=False)
    assert dataset.info.fps == fps and dataset.lengths == lengths
    for episode in dataset:
        assert episode.action_known.all()
        np.testing.assert_allclose(greys(episode)[:-1], episode.actions[:, 0], atol=4)


LIVE = {"format": "mp4", "options": {"movflags": "frag_keyframe+empty_moov"}}


@pytest.mark.parametrize(
    "name, muxer", [("a.mp4", LIVE), ("a.mp4", {"format": "mpegts"}), ("a.avi", {})]
)
def test_frames_keep_their_labels_in_containers_that_seek_by_decoding(
    tmp_path, monkeypatch, name, muxer
):
    """A part that began at a key frame once began a frame or two late, beside earlier labels."""
    monkeypatch.setattr("worldsim.conversion.MOST_FRAMES", 29)
    shown = 20 + 7 * np.arange(250) % 210
    write_foreign(tmp_path / "in" / name, shown, 30, (32, 32), **muxer)
    write_rows(tmp_path / "in/a.csv", {"grey": shown})
    parts = convert(tmp_path / "in", tmp_path / "out", progress=False)
    assert len(parts) == 9
    for part in parts:
        assert part.action_known.all()
        np.testing.assert_allclose(greys(part)[:-1], part.actions[:, 0], atol=4)


def test_a_frame_that_is_not_shown_when_the_file_says_is_told(tmp_path):
    """As in a file that was cut off while it was converted."""
    write_foreign(tmp_path / "in/a.mp4", ramp(20), 10)
    takes, names, _ = read_folder(tmp_path / "in", tmp_path / "out")
    info = DatasetInfo(10, (16, 16), action_space(takes, names))
    write_foreign(tmp_path / "in/a.mp4", ramp(12), 10)
    with pytest.raises(ValueError, match=r"must show frame 12 of a.mp4 at 1.200 s.*encode it"):
        resample(takes[0], info)


def test_all_faults_are_told_file_by_file_before_anything_is_written(videos, tmp_path, capsys):
    (videos / "broken.mp4").write_bytes((videos / "a.mp4").read_bytes()[:900])
    write_foreign(videos / "slow.mp4", ramp(9), 5)
    write_foreign(videos / "short.mp4", ramp(30), 30)
    write_rows(videos / "short.csv", {"steer": [0.0] * 9, "gas": [0.0] * 9})
    write_foreign(videos / "other.mp4", ramp(10), 30)
    write_rows(videos / "other.csv", {"steer": [0.0] * 9})
    write_foreign(videos / "words.mp4", ramp(4), 30)
    write_rows(videos / "words.csv", {"steer": ["left"] * 3, "gas": [0] * 3})
    write_foreign(videos / "dates.mp4", ramp(4), 30)
    write_rows(videos / "dates.csv", {"steer": ["2024-01-01 10:00:00"] * 3, "gas": [0] * 3})
    write_foreign(videos / "gaps.mp4", ramp(4), 30)
    write_rows(videos / "gaps.csv", {"frame": [0, None, 2], "steer": [0] * 3, "gas": [0] * 3})
    (videos / "captions.csv").write_text("video,caption\nnowhere.mp4,a town\n")
    with pytest.raises(SourceFaults) as caught:
        convert(videos, tmp_path / "set", fps=15, progress=False)
    told = dict(caught.value.faults)
    assert "cannot be read" in told["broken.mp4"]
    assert "5 frames a second, which is less than fps=15" in told["slow.mp4"]
    assert "29 or 30 rows of actions fit, got 9" in told["short.mp4"]
    assert "lack the columns ['gas']" in told["other.mp4"]
    assert "column 'steer' must be numbers" in told["words.mp4"]
    assert "column 'steer' must be numbers" in told["dates.mp4"]
    assert "which frame each row means" in told["gaps.mp4"]
    assert "nowhere.mp4" in told["captions.csv"] and len(told) == 8
    assert not (tmp_path / "set").exists() and not (tmp_path / "set.partial").exists()
    assert main(["data", "convert", f"path={videos}", f"out={tmp_path / 'set'}", "fps=15"]) == 1
    assert "\n  broken.mp4    " in capsys.readouterr().err


def test_captions_that_cannot_be_read_are_faults_too(videos, tmp_path):
    (videos / "captions.csv").write_text("video,caption\na.mp4,a car, fast\n")
    (videos / "c.txt").write_bytes(b"\xff\xfe\xfa")
    (videos / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(SourceFaults) as caught:
        convert(videos, tmp_path / "set", progress=False)
    assert sorted(name for name, _ in caught.value.faults) == [
        "broken.mp4", "c.txt", "captions.csv",
    ]  # fmt: skip


def test_a_conversion_goes_on_only_from_the_videos_it_was_begun_with(videos, tmp_path):
    """A video added before the others shifted them all: one came twice, it never."""
    convert(videos, tmp_path / "set", progress=False)
    assert len(convert(videos, tmp_path / "set", progress=False)) == 3
    write_foreign(videos / "0.mp4", ramp(20), 15)
    with pytest.raises(ValueError, match="3 takes.*4 takes.*or another folder"):
        convert(videos, tmp_path / "set", progress=False)


def test_a_conversion_goes_on_only_with_the_labels_it_was_begun_with(tmp_path):
    """Corrected tables were passed over, and the old labels praised as done."""
    write_foreign(tmp_path / "videos/a.mp4", ramp(5), 10)
    for reward in (1, 2):
        (tmp_path / "videos/a.csv").write_text("action,reward\n" + f"0,{reward}\n" * 4)
        if reward == 1:
            convert(tmp_path / "videos", tmp_path / "set", progress=False)
    with pytest.raises(ValueError, match="1 takes.*1 takes.*or another folder"):
        convert(tmp_path / "videos", tmp_path / "set", progress=False)


@pytest.mark.parametrize("within", [False, True])
def test_an_interrupted_conversion_goes_on(videos, tmp_path, monkeypatch, within):
    """Within its source, it took its own first episodes for further videos."""
    from worldsim import conversion

    resample, out = conversion.resample, (videos if within else tmp_path) / "set"

    def fail(take, info, first):
        if take.name == "c.mp4":
            raise KeyboardInterrupt
        return resample(take, info, first)

    monkeypatch.setattr(conversion, "resample", fail)
    with pytest.raises(KeyboardInterrupt):
        convert(videos, out, progress=False)
    assert not out.exists()
    seen = []
    monkeypatch.setattr(conversion, "resample", lambda *a: seen.append(a) or resample(*a))
    assert len(convert(videos, out, progress=False)) == 3 and len(seen) == 2
    assert len(convert(videos, out, progress=False)) == 3


def test_tables_that_nobody_reads_and_takes_too_short_for_the_pace_are_faults(tmp_path):
    """A misspelt table left its video without labels, and a short video went missing."""
    write_foreign(tmp_path / "in/a.mp4", ramp(60), 30)
    write_foreign(tmp_path / "in/b.mp4", ramp(20), 30)
    write_rows(tmp_path / "in/a_actions.csv", {"steer": ramp(59)})
    write_rows(tmp_path / "in/b.csv", {"steer": ramp(19), "caption": ["x"] * 19})
    with pytest.raises(SourceFaults) as caught:
        convert(tmp_path / "in", tmp_path / "out", fps=1, progress=False)
    told = dict(caught.value.faults)
    assert "like no video" in told["a_actions.csv"] and "captions.csv" in told["b.csv"]
    assert "fps=1" in told["b.mp4"] and not (tmp_path / "out").exists()


def write_lerobot(root, lengths=(12, 9, 15), fps=10):
    """Write a LeRobot v3 data set as others do: two cameras, tasks, chunks of one or two episodes.

    Nothing of ours is used: float64 lists, `observation.state`, tasks named by pandas' index, two
    episodes in a video file, a parquet file per episode, statistics left out.
    """
    tasks = ["pick the red cube", "open the drawer"]
    cameras = {"observation.images.top": (H, W), "observation.images.wrist": (32, 32)}
    files = [[0, 1], [2]]
    rows, index = [], 0
    for episode, n in enumerate(lengths):
        table = {
            "action": pa.array(
                [[0.1 * i, -i, 0.5, episode] for i in range(n)], pa.list_(pa.float64())
            ),
            "observation.state": pa.array([[float(i)] * 2 for i in range(n)]),
            "timestamp": (np.arange(n) / fps).astype(np.float32),
            "frame_index": np.arange(n), "episode_index": np.full(n, episode),
            "index": np.arange(index, index + n),
            "task_index": np.full(n, episode % 2),
            "next.reward": (np.arange(n) == n - 1).astype(np.float32),
            "next.done": np.arange(n) == n - 1,
        }  # fmt: skip
        path = root / f"data/chunk-00{episode // 2}/file-00{episode % 2}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), path)
        chunk = next(i for i, part in enumerate(files) if episode in part)
        begin = sum(lengths[e] for e in files[chunk] if e < episode) / fps
        row = {"episode_index": episode, "tasks": [tasks[episode % 2]], "length": n}
        row |= {"data/chunk_index": episode // 2, "data/file_index": episode % 2}
        row |= {"dataset_from_index": index, "dataset_to_index": index + n}
        for camera in cameras:
            row |= {
                f"videos/{camera}/chunk_index": chunk, f"videos/{camera}/file_index": 0,
                f"videos/{camera}/from_timestamp": begin,
                f"videos/{camera}/to_timestamp": begin + n / fps,
            }  # fmt: skip
        rows.append(row)
        index += n
    for chunk, part in enumerate(files):
        shown = np.concatenate([ramp(lengths[e], 20 + 60 * e) for e in part])
        for camera, size in cameras.items():
            write_foreign(root / f"videos/{camera}/chunk-00{chunk}/file-000.mp4", shown, fps, size)
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    pq.write_table(
        pa.table({"task_index": [0, 1], "__index_level_0__": tasks}), root / "meta/tasks.parquet"
    )
    features = {
        camera: {"dtype": "video", "shape": [*size, 3], "names": ["height", "width", "channel"]}
        for camera, size in cameras.items()
    }
    names = {"motors": ["base", "elbow", "wrist", "grip"]}
    features |= {"action": {"dtype": "float32", "shape": [4], "names": names}}
    features |= {"observation.state": {"dtype": "float32", "shape": [2], "names": None}}
    for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    features |= {"next.reward": {"dtype": "float32", "shape": [1], "names": None}}
    features |= {"next.done": {"dtype": "bool", "shape": [1], "names": None}}
    video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    info = {
        "codebase_version": "v3.0", "robot_type": "so101", "fps": fps, "features": features,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": video_path, "total_episodes": len(lengths),
    }  # fmt: skip
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


@pytest.mark.parametrize("camera, size", [(None, (H, W)), ("observation.images.wrist", (32, 32))])
def test_a_lerobot_data_set_of_foreign_origin_is_converted(tmp_path, camera, size):
    root = write_lerobot(tmp_path / "robot")
    dataset = convert(root, tmp_path / "set", fps=5, video_key=camera, progress=False)
    assert dataset.info.frame_size == size and dataset.lengths == [5, 4, 7]
    assert dataset.info.recording["names"] == ["base", "elbow", "wrist", "grip"]
    for number, episode in enumerate(dataset):
        n = len(episode) + 1
        np.testing.assert_allclose(greys(episode), ramp(30, 20 + 60 * number)[: 2 * n : 2], atol=3)
        np.testing.assert_allclose(
            episode.actions[:, 0], 0.1 * (2 * np.arange(n - 1) + 0.5), rtol=1e-5
        )
        assert (episode.actions[:, 3] == number).all() and episode.action_known.all()
        assert _endings(episode) == (1.0, True)
    said = [episode.captions[0] for episode in dataset]
    assert said == ["pick the red cube", "open the drawer", "pick the red cube"]


def _endings(episode):
    """Tell what the last action earned and ended, as the last row of others says of its own."""
    assert not episode.rewards[:-1].any() and not episode.terminated[:-1].any()
    return float(episode.rewards[-1]), bool(episode.terminated[-1])


def test_a_lerobot_data_set_of_foreign_origin_trains_as_it_is(tmp_path):
    root = write_lerobot(tmp_path / "robot")
    dataset = open_dataset(root, "observation.images.wrist")
    assert {_endings(episode) for episode in dataset} == {(1.0, True)}
    world = _train(dataset, tmp_path / "run")
    assert world.cfg.frame_size == (32, 32) and world.action_space.shape == (4,)
    assert set(world.starts.captions) <= {"pick the red cube", "open the drawer"}


def test_what_is_wrong_with_a_lerobot_data_set_is_told(tmp_path):
    root = write_lerobot(tmp_path / "robot")
    (root / "videos/observation.images.top/chunk-001/file-000.mp4").unlink()
    write_foreign(root / "videos/observation.images.top/chunk-000/file-000.mp4", ramp(15), 10)
    with pytest.raises(SourceFaults) as caught:
        convert(root, tmp_path / "set", progress=False)
    told = "\n".join(f"{name} {what}" for name, what in caught.value.faults)
    assert "file-000.mp4 must hold 21 frames for episode 1, got 15" in told
    assert (
        "chunk-001/file-000.mp4 episode 2: is not there" in told and not (tmp_path / "set").exists()
    )


def _number_tasks(root, of_episodes, of_tasks):
    """Give the tasks of a LeRobot data set other numbers."""
    for path in (root / "data").glob("*/*.parquet"):
        table = pq.read_table(path)
        task = of_episodes[table["episode_index"][0].as_py()]
        at = table.column_names.index("task_index")
        column = pa.array([task] * len(table))
        pq.write_table(table.set_column(at, "task_index", column), path)
    table = {"task_index": list(of_tasks), "__index_level_0__": list(of_tasks.values())}
    pq.write_table(pa.table(table), root / "meta/tasks.parquet")


def test_tasks_of_others_are_looked_up_by_their_number(tmp_path):
    """Of tasks 0, 2 and 5, the third was taken for 2; of 1 and 2, none was found for 2."""
    root = write_lerobot(tmp_path / "robot")
    _number_tasks(root, [5, 2, 0], {0: "wait", 5: "pick", 2: "open"})
    made = convert(root, tmp_path / "set", progress=False)
    for dataset in (open_dataset(root), made):
        assert [episode.captions for episode in dataset] == [("pick",), ("open",), ("wait",)]
    _number_tasks(root, [5, 2, 0], {0: "wait", 5: "pick"})
    with pytest.raises(ValueError, match=r"meta/tasks.parquet must name .* got none for 2"):
        open_dataset(root)[0]
    (root / "meta/tasks.parquet").unlink()
    with pytest.raises(ValueError, match=r"meta/tasks.parquet must name .* got none for 0"):
        convert(root, tmp_path / "other", progress=False)


def test_a_lerobot_data_set_of_less_than_a_frame_a_second_has_a_pace(tmp_path):
    root = write_lerobot(tmp_path / "robot")
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"fps": 0.4}))
    assert open_dataset(root).info.fps == 1


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _drop(path, name):
    pq.write_table(pq.read_table(path).drop_columns([name]), path)


@pytest.mark.parametrize(
    "harm, says",
    [
        (lambda root: shutil.rmtree(root / "data"), "robot/data must hold tables"),
        (lambda root: shutil.rmtree(root / "meta/episodes"), "meta/episodes must hold tables"),
        (
            lambda root: _cut(root / "meta/episodes/chunk-000/file-000.parquet"),
            "meta/episodes/chunk-000/file-000.parquet must be a whole Parquet file",
        ),
        (
            lambda root: _cut(root / "meta/tasks.parquet"),
            "meta/tasks.parquet must be a whole Parquet file",
        ),
        (
            lambda root: _drop(root / "data/chunk-001/file-000.parquet", "task_index"),
            r"chunk-001/file-000.parquet must have the columns .*none for \['task_index'\]",
        ),
        (
            lambda root: (root / "meta/info.json").write_text("[]"),
            "meta/info.json must describe a LeRobot data set",
        ),
    ],
)
def test_what_a_lerobot_data_set_lacks_is_told_by_file(tmp_path, harm, says):
    root = write_lerobot(tmp_path / "robot")
    harm(root)
    with pytest.raises(ValueError, match=says):
        open_dataset(root)[0]
    with pytest.raises(ValueError, match=says):
        convert(root, tmp_path / "set", progress=False)


def test_a_codec_that_nobody_knows_is_a_fault(tmp_path):
    clip = tmp_path / "in/a.mp4"
    write_foreign(clip, ramp(10), 10)
    clip.write_bytes(clip.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(SourceFaults, match="a codec that PyAV does not know; encode it again"):
        convert(clip.parent, tmp_path / "set", progress=False)
    with pytest.raises(ValueError, match="a.mp4 must have a codec that PyAV knows"):
        worldsim.read_video(clip)


def test_merging_and_splitting_lose_nothing(videos, tmp_path):
    whole = convert(videos, tmp_path / "one", progress=False)
    both = merge([tmp_path / "one", tmp_path / "one"], tmp_path / "two")
    assert len(both) == 6
    for i in range(6):
        _assert_same(both[i], whole[i % 3])
    train, test = split(tmp_path / "two", f"{tmp_path}/two/", test=0.34)
    assert (len(train), len(test)) == (4, 2) and test.path == tmp_path / "two-test"
    parts = [greys(e).tolist() for e in (*train, *test)]
    assert sorted(parts) == sorted(greys(e).tolist() for e in both)
    with pytest.raises(ValueError, match="settings it was begun with.*split"):
        DatasetWriter(train.path, whole.info)  # whose next episodes may be those held out
    again = merge([train.path, test.path], tmp_path / "three")
    assert sorted(again.lengths) == sorted(both.lengths)
    with pytest.raises(FileExistsError):
        split(tmp_path / "two", tmp_path / "two", test=0.34)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_split_that_was_stopped_leaves_nothing_and_can_be_done_again(
    videos, tmp_path, monkeypatch, error
):
    """The first part was there already, so that the same command was refused."""
    convert(videos, tmp_path / "one", progress=False)
    written = []

    def write(root, parts, meta):
        if written:
            raise error
        written.append(root)
        write_layout(root, parts, meta)

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr("worldsim.datasets.splicing.write_layout", write)
        split(tmp_path / "one", tmp_path / "one", test=0.34)
    assert {path.name for path in tmp_path.glob("one*")} == {"one"}
    assert list(map(len, split(tmp_path / "one", tmp_path / "one", test=0.34))) == [2, 1]


def test_merging_leaves_a_folder_of_somebody_else_alone(videos, tmp_path):
    """One that was called as those of unfinished data sets are was removed without a word."""
    convert(videos, tmp_path / "one", progress=False)
    letter = tmp_path / "two.part/letter.txt"
    letter.parent.mkdir()
    letter.write_text("precious")
    with pytest.raises(FileExistsError, match="nothing but unfinished work, got letter"):
        merge([tmp_path / "one", tmp_path / "one"], tmp_path / "two")
    assert letter.read_text() == "precious" and not (tmp_path / "two").exists()


def test_a_recording_of_ours_in_another_size_keeps_its_actions_and_its_env(tmp_path):
    """Choices became numbers between 0 and 1, and nobody knew what they were choices of."""
    words = f"record env=CartPole-v1 policy=random episodes=2 max_steps=6 out={tmp_path / 'a'}"
    assert main(words.split()) == 0
    was = open_dataset(tmp_path / "a")
    now = convert(tmp_path / "a", tmp_path / "b", fps=50, frame_size=(32, 48), progress=False)
    assert now.info.action_space == was.info.action_space == spaces.Discrete(2)
    assert np.array_equal(now[0].actions, was[0].actions) and now.info.keys == was.info.keys
    env = open_env(now.info.env_id, **now.info.env_kwargs)
    assert env.reset(seed=0)[0].shape == (32, 48, 3) and env.action_space == spaces.Discrete(2)
    env.close()
    slow = convert(tmp_path / "a", tmp_path / "c", fps=25, frame_size=(32, 48), progress=False)
    assert slow.info.env_id == "" and set(slow[0].actions.sum(1)) == {1.0}


def test_a_recording_of_ours_in_another_size_can_be_played_again(tmp_path):
    """Its seeds, scenes and states were dropped, so nothing that needs the truth was measured."""
    made = tmp_path / "a"
    was = worldsim.record(
        "worldsim/Drive-v0", made, episodes=2, seed=3, max_steps=6, progress=False
    )
    now = convert(made, tmp_path / "b", frame_size=(32, 32), progress=False)
    for old, new in zip(was, now, strict=True):
        assert (new.seed, new.scene) == (old.seed, old.scene) and new.seed is not None
        assert np.array_equal(new.truncated, old.truncated)
        assert all(np.array_equal(new.state[k], old.state[k]) for k in old.state)
    env = open_env(now.info.env_id, **now.info.env_kwargs)
    first, _ = env.reset(seed=now[0].seed)
    env.close()
    assert np.abs(first.astype(float) - now[0].frames[0]).mean() < 6
    slow = convert(made, tmp_path / "c", fps=5, progress=False)
    assert slow[0].seed is None and slow[0].scene == was[0].scene


def patch_mp4(path, box, at, words):
    """Overwrite 32-bit numbers in a box of an MP4."""
    data = bytearray(path.read_bytes())
    first = data.index(box) + 4 + at
    data[first : first + 4 * len(words)] = struct.pack(f">{len(words)}i", *words)
    path.write_bytes(data)


def test_frames_that_an_edit_hides_are_not_counted(tmp_path, monkeypatch):
    """A video trimmed without encoding it anew was 7 frames ahead of its labels."""
    monkeypatch.setattr("worldsim.conversion.MOST_FRAMES", 10)
    clip = tmp_path / "in/a.mp4"
    write_foreign(clip, ramp(40), 10)
    with av.open(str(clip)) as file:
        scale = file.streams.video[0].time_base.denominator
    data = clip.read_bytes()
    (begin,) = struct.unpack_from(">i", data, data.index(b"elst") + 16)
    patch_mp4(clip, b"elst", 12, [begin + 7 * scale // 10])
    visible = [round(f.mean()) for f in worldsim.read_video(clip)]
    assert len(visible) == 33
    write_rows(clip.with_suffix(".csv"), {"steer": ramp(33, 20 + 21)})
    parts = convert(tmp_path / "in", tmp_path / "out", progress=False)
    assert len(parts) == 4
    for part in parts:
        assert np.abs(greys(part)[:-1] - part.actions[:, 0]).max() < 3


def test_a_video_of_a_turned_camera_stands_upright(tmp_path):
    clip = tmp_path / "in/a.mp4"
    picture = np.zeros((H, W, 3), np.uint8)
    picture[:, : W // 2] = 200  # the left half, which a quarter turn to the right puts on top
    worldsim.write_video(clip, np.stack([picture] * 8), 10)
    patch_mp4(clip, b"tkhd", 40, [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30])
    made = convert(tmp_path / "in", tmp_path / "out", frame_size=(W, H), progress=False)
    frame = made[0].frames[0].astype(int)
    assert frame[: W // 4].min() > 150 and frame[-W // 4 :].max() < 50


def test_merged_recordings_claim_only_the_arguments_that_all_were_made_with(tmp_path):
    """One restricted to deserts lent its scene to cities, and those could not be replayed."""
    for number, biome in enumerate(("desert", "city")):
        words = f"record out={tmp_path / biome} episodes=1 max_steps=2 seed={number} "
        words += f"env_kwargs.scene.biome={biome} env_kwargs.camera=hood"
        assert main(words.split()) == 0
    info = merge([tmp_path / "desert", tmp_path / "city"], tmp_path / "both").info
    assert info.env_id == "worldsim/Drive-v0" and info.env_kwargs == {"camera": "hood"}


def test_data_sets_of_different_kinds_are_not_merged(videos, tmp_path):
    convert(videos, tmp_path / "one", progress=False)
    convert(videos, tmp_path / "slow", fps=5, frame_size=(16, 16), progress=False)
    with pytest.raises(SourceFaults, match="has fps=5, the first 15"):
        merge([tmp_path / "one", tmp_path / "slow"], tmp_path / "two")
    assert not (tmp_path / "two").exists()
    with pytest.raises(ValueError, match="worldsim data convert"):
        merge([tmp_path / "one", write_lerobot(tmp_path / "robot")], tmp_path / "two")
    with pytest.raises(ValueError, match="leave an episode for each part"):
        split(tmp_path / "one", tmp_path / "parts", test=1.0)


@pytest.mark.parametrize(
    "change, error, says",
    [
        ({"path": "nowhere"}, FileNotFoundError, "no folder"),
        ({"frame_size": (20, 32)}, ValueError, "multiples of 16, got 32x20; resize to 32x16"),
        ({"fps": -5}, ValueError, "`fps` must be positive"),
        ({"path": "."}, SourceFaults, "holds no video"),
    ],
)
def test_what_cannot_be_a_source_is_refused(tmp_path, monkeypatch, change, error, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        convert(**{"path": ".", "out": "set", "progress": False} | change)


def _assert_same(one, other):
    for name in ("frames", "actions", "rewards", "terminated", "action_known", "caption_index"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.captions == other.captions


def _train(data, out):
    quiet = {"steps": 2, "minutes": 0.0, "wandb": worldsim.WandbConfig("disabled")}
    worldsim.train_tokenizer(data, out / "tok", model="tiny", **quiet)
    return worldsim.train_dynamics(
        data, out / "tok", out / "dyn", model="tiny", batch_size=2, **quiet
    )


def test_pictures_and_states_of_an_episode_have_one_shape(tmp_path):
    """NumPy's error named neither."""

    class Growing(gymnasium.Env):
        metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
        action_space = observation_space = spaces.Discrete(2)
        render_mode = "rgb_array"
        wide = 0

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.t = 0
            return 0, {"state": {"near": [0.0]}}

        def step(self, action):
            self.t += 1
            return 0, 0.0, self.t > 3, False, {"state": {"near": [0.0] * (1 + self.t - self.wide)}}

        def render(self):
            return np.zeros((32, 32 + self.wide * self.t, 3), np.uint8)

    env = Growing()
    with pytest.raises(ValueError, match=r"near.*got \(1,\) at reset and \(2,\) at step 1"):
        worldsim.record(env, tmp_path / "a", episodes=1, policy="random", progress=False)
    env.wide = 1
    with pytest.raises(ValueError, match=r"frames must be of one shape"):
        worldsim.record(env, tmp_path / "b", episodes=1, policy="random", progress=False)
