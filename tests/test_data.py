import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

import worldsim.datasets.lerobot_writer
from worldsim.data import open_dataset
from worldsim.datasets.episodes import DatasetInfo, Episode, MemoryDataset
from worldsim.datasets.inspection import inspect, preview
from worldsim.datasets.writing import DatasetWriter, stage_episode
from worldsim.decoding import open_input, read_video
from worldsim.images import read_image
from worldsim.video import QUALITIES

BOX = spaces.Box(np.array([-1, 0, 0], np.float32), 1.0, (3,))
RAGGED = ("frames", "actions", "rewards", "terminated", "truncated", "caption_index")


def make_info(**changes):
    return DatasetInfo(**{"fps": 10, "frame_size": (16, 24), "action_space": BOX} | changes)


def make_episode(seed, t=7, size=(16, 24)):
    rng = np.random.default_rng(seed)
    return Episode(
        frames=rng.integers(0, 256, (t + 1, *size, 3), dtype=np.uint8),
        actions=rng.uniform(0, 1, (t, 3)).astype(np.float32),
        rewards=rng.normal(size=t).astype(np.float32),
        terminated=np.arange(t) == t - 1,
        truncated=np.zeros(t, bool),
        captions=("a road", f"road number {seed}"),
        caption_index=(np.arange(t + 1) > 3).astype(np.int64),
        state={
            "speed": rng.normal(size=t + 1).astype(np.float32),
            "place": rng.normal(size=(t + 1, 2)).astype(np.float32),
        },
        scene={"biome": "desert", "cars": 3},
        seed=seed,
        action_known=np.arange(t) != 2,
    )


def assert_same(one, other):
    for name in (*RAGGED, "action_known"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert one.state.keys() == other.state.keys()
    for key in one.state:
        np.testing.assert_array_equal(one.state[key], other.state[key])
    assert (one.captions, one.scene, one.seed) == (other.captions, other.scene, other.seed)


@pytest.fixture
def lossless():
    return make_info(quality="lossless", env_id="Toy-v0", keys=[[["left"], [-1, 0, 0]]])


@pytest.fixture
def episodes():
    return [make_episode(seed, t) for seed, t in enumerate([7, 5, 9, 4])]


@pytest.fixture
def dataset(tmp_path, lossless, episodes):
    with DatasetWriter(tmp_path / "set", lossless) as writer:
        for episode in episodes:
            writer.append(episode)
    return open_dataset(tmp_path / "set")


def test_an_episode_survives_the_disk(dataset, lossless, episodes):
    memory = MemoryDataset(lossless, episodes)
    assert dataset.info == memory.info
    assert dataset.lengths == memory.lengths == [7, 5, 9, 4]
    assert dataset.state_keys == memory.state_keys == ["place", "speed"]
    for read, written in zip(dataset, memory, strict=True):
        assert_same(read, written)
    assert_same(dataset[-1], episodes[-1])
    with pytest.raises(IndexError):
        dataset[4]


def test_episodes_are_joined_and_files_rotated_without_encoding_again(
    tmp_path, lossless, episodes, monkeypatch
):
    monkeypatch.setattr(worldsim.datasets.lerobot_writer, "FRAMES_PER_FILE", 15)
    monkeypatch.setattr(worldsim.datasets.lerobot_writer, "FILES_PER_CHUNK", 2)
    with DatasetWriter(tmp_path / "set", lossless) as writer:
        for episode in episodes:
            writer.append(episode)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.mp4"))
    assert names == [
        "set/videos/observation.image/chunk-000/file-000.mp4",  # 8 + 6 frames
        "set/videos/observation.image/chunk-000/file-001.mp4",  # 10 + 5
    ]
    dataset = open_dataset(tmp_path / "set")
    for read, written in zip(dataset, episodes, strict=True):
        assert_same(read, written)


@pytest.mark.parametrize("quality", list(QUALITIES))
def test_a_joined_video_shows_its_frames_in_order(tmp_path, quality):
    """Films for people once had frames that lay in another order than they are shown in."""
    bar = np.eye(30, 24, dtype=np.uint8)[:, None, :, None] * np.uint8(200)
    episode = Episode(np.tile(bar, (1, 16, 1, 3)), np.zeros((29, 3), np.float32))
    with DatasetWriter(tmp_path / "set", make_info(quality=quality)) as writer:
        writer.append(episode)
        writer.append(episode)
    with open_input(next((tmp_path / "set").rglob("*.mp4"))) as container:
        stream = container.streams.video[0]
        stamps = [float(frame.pts * stream.time_base) for frame in container.decode(stream)]
    np.testing.assert_allclose(stamps, np.arange(60) / 10)


def test_the_terminal_frame_has_a_row_with_a_null_action(dataset):
    table = pq.read_table(dataset.path / "data/chunk-000/file-000.parquet")
    assert table.num_rows == 8 + 6 + 10 + 5
    assert table["action"][7].as_py() == [0, 0, 0]
    assert table["frame_index"].to_pylist()[:9] == [*range(8), 0]
    assert table["next.done"].to_pylist()[:8] == [False] * 6 + [True, False]


def test_the_layout_is_lerobots(dataset):
    info = json.loads((dataset.path / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 10
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (4, 29, 5)
    table = pq.read_table(dataset.path / "data/chunk-000/file-000.parquet")
    videos = {key for key, feature in info["features"].items() if feature["dtype"] == "video"}
    assert set(table.column_names) == info["features"].keys() - videos
    tasks = pq.read_table(dataset.path / "meta/tasks.parquet")
    assert tasks["task"].to_pylist()[:2] == ["a road", "road number 0"]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    rows = pq.read_table(dataset.path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    key = "videos/observation.image"
    assert [row["dataset_from_index"] for row in rows] == [0, 8, 14, 24]
    assert [row[f"{key}/from_timestamp"] for row in rows] == pytest.approx([0, 0.8, 1.4, 2.4])
    assert [row[f"{key}/to_timestamp"] for row in rows] == pytest.approx([0.8, 1.4, 2.4, 2.9])


def test_statistics_over_episodes_equal_those_over_all_rows(dataset, episodes):
    stats = json.loads((dataset.path / "meta/stats.json").read_text())
    speeds = np.concatenate([episode.state["speed"] for episode in episodes])
    assert stats["state.speed"]["mean"] == pytest.approx([speeds.mean()], abs=1e-6)
    assert stats["state.speed"]["std"] == pytest.approx([speeds.std()], abs=1e-6)
    assert stats["state.speed"]["max"] == pytest.approx([speeds.max()])
    assert np.shape(stats["observation.image"]["mean"]) == (3, 1, 1)


def test_a_data_set_on_disk_is_whole_or_absent_and_goes_on_where_it_stopped(
    tmp_path, lossless, episodes
):
    path = tmp_path / "set"
    with pytest.raises(KeyboardInterrupt), DatasetWriter(path, lossless) as writer:
        writer.append(episodes[0])
        writer.append(episodes[1])
        raise KeyboardInterrupt
    assert not path.exists()
    with pytest.raises(FileNotFoundError, match="unfinished recording"):
        open_dataset(path)
    with DatasetWriter(path, lossless) as writer:
        assert writer.written == 2 and writer.missing(4) == [2, 3]
        writer.append(episodes[2])
    assert [item.name for item in tmp_path.iterdir()] == ["set"]
    for read, written in zip(open_dataset(path), episodes, strict=False):
        assert_same(read, written)


def test_episodes_after_a_gap_that_nobody_filled_are_left_out(tmp_path, lossless, episodes):
    """Workers that were stopped left the first and the fourth, which once became the second."""
    writer = DatasetWriter(tmp_path / "set", lossless)
    for index in (0, 3):
        stage_episode(writer.staging, lossless, index, episodes[index])
    assert writer.written == 1 and writer.missing(4) == [1, 2]
    writer.append(episodes[1])
    assert [episode.seed for episode in writer.close()] == [0, 1]


HOLD = """
import os, sys, time
from gymnasium import spaces
from worldsim.datasets.episodes import DatasetInfo
from worldsim.datasets.writing import DatasetWriter

writer = DatasetWriter(sys.argv[1], DatasetInfo(10, (16, 24), spaces.Discrete(2)))
if child := os.fork():
    print(child, flush=True)
time.sleep(60)
"""


@pytest.fixture
def elsewhere(tmp_path):
    """Another process that has a writer open, and has forked a child."""
    words = [sys.executable, "-c", HOLD, tmp_path / "set"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        yield process
        process.kill()
        os.kill(child, signal.SIGKILL)


def test_two_processes_do_not_write_one_data_set(tmp_path, elsewhere, lossless):
    """Each put its episodes in the place of the other's, and nobody was told."""
    with pytest.raises(BlockingIOError, match="another process records into .*set; let it end"):
        DatasetWriter(tmp_path / "set", lossless)
    elsewhere.kill()  # its child lives on
    elsewhere.wait()
    with DatasetWriter(tmp_path / "set", lossless) as writer:
        writer.append(make_episode(0))
    assert [item.name for item in tmp_path.iterdir()] == ["set"]


def test_a_writer_takes_the_place_of_the_last_one_in_its_process(dataset, lossless, episodes):
    """Such as that of a notebook's cell that failed; it is of no use from then on."""
    last = DatasetWriter(dataset.path, lossless)
    with DatasetWriter(dataset.path, lossless) as writer:
        writer.append(episodes[0])
        for use in (last.close, lambda: last.append(episodes[1])):
            with pytest.raises(ValueError, match="must be open, got one that records into .*set"):
                use()
    with pytest.raises(ValueError, match="a writer must be open"):
        writer.append(episodes[1])
    assert open_dataset(dataset.path).lengths == [7, 5, 9, 4, 7]


def test_a_writer_that_is_refused_leaves_nothing_behind(tmp_path, dataset, lossless):
    with pytest.raises(ValueError, match="settings it was begun with"):
        DatasetWriter(dataset.path, make_info(fps=20))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="no data set"):
        DatasetWriter(tmp_path / "full", lossless)
    assert {item.name for item in tmp_path.iterdir()} == {"set", "full"}


def test_a_recording_without_an_episode_binds_nobody_to_its_settings(tmp_path, lossless):
    """What a failure in the first episode left once refused another try."""
    DatasetWriter(tmp_path / "set", make_info(fps=20))
    DatasetWriter(tmp_path / "set", lossless).append(make_episode(0))
    with pytest.raises(ValueError, match="fps=10 there, 20 here"):
        DatasetWriter(tmp_path / "set", make_info(fps=20))


def test_a_failure_while_joining_keeps_every_episode(tmp_path, lossless, episodes, monkeypatch):
    path = tmp_path / "set"
    writer = DatasetWriter(path, lossless)
    writer.append(episodes[0])
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(worldsim.datasets.lerobot_writer, "_tasks_table", _raise_disk_full)
        writer.close()
    assert not path.exists()
    assert_same(DatasetWriter(path, lossless).close()[0], episodes[0])


def _raise_disk_full(_):
    raise OSError("disk full")


def test_a_finished_data_set_is_extended_and_old_episodes_stay_the_same(
    dataset, lossless, episodes
):
    more = make_episode(9)
    (dataset.path / "notes/data").mkdir(parents=True)
    (dataset.path / "notes/data/README.md").write_text("precious")
    with DatasetWriter(dataset.path, lossless) as writer:
        assert writer.missing(6) == [4, 5]
        writer.append(more)
    longer = open_dataset(dataset.path)
    assert (dataset.path / "notes/data/README.md").read_text() == "precious"
    assert longer.lengths == [7, 5, 9, 4, 7]
    for read, written in zip(longer, [*episodes, more], strict=True):
        assert_same(read, written)


def test_a_crash_between_the_two_renames_loses_nothing(dataset, lossless, episodes):
    """The old data set has been moved away, the new one is not in its place yet."""
    staging = dataset.path.with_name("set.partial")
    staging.mkdir()
    shutil.move(dataset.path, staging / "old")
    assert len(DatasetWriter(dataset.path, lossless).close()) == len(episodes)


def test_tidying_up_that_was_cut_short_does_not_stop_the_next_extension(dataset, lossless):
    """What was left of the old data set once stood in the way of the next one."""
    shutil.copytree(dataset.path, dataset.path.with_name("set.partial") / "old")
    with DatasetWriter(dataset.path, lossless) as writer:
        writer.append(make_episode(9))
    assert len(open_dataset(dataset.path)) == 5
    assert [item.name for item in dataset.path.parent.iterdir()] == ["set"]


@pytest.mark.parametrize(
    "change, says",
    [
        ({"fps": 20}, "fps=10 there, 20 here"),
        ({"action_space": spaces.Box(-1, 1, (3,))}, "action_space"),
        ({"frame_size": (16, 16)}, "frame_size"),
        ({"quality": "training"}, "quality"),
    ],
)
def test_a_data_set_of_another_kind_is_not_extended(dataset, lossless, change, says):
    with pytest.raises(ValueError, match=says):
        DatasetWriter(dataset.path, make_info(**lossless.__dict__ | change))
    assert len(open_dataset(dataset.path)) == 4


def test_a_foreign_data_set_opens_without_our_metadata(dataset, episodes):
    """Other recorders write no "worldsim" key, no scene, and columns of their own."""
    path = dataset.path / "meta/info.json"
    info = json.loads(path.read_text())
    del info["worldsim"]
    info["features"] = {
        key: feature
        for key, feature in info["features"].items()
        if key in ("action", "observation.image", "task_index")
    }
    info["features"]["observation.image"] |= {
        "shape": [3, 16, 24],
        "names": ["channels", "height", "width"],
    }
    path.write_text(json.dumps(info))
    foreign = open_dataset(dataset.path, video_key="observation.image")
    assert foreign.info.frame_size == (16, 24) and foreign.info.fps == 10
    assert foreign.info.action_space == spaces.Box(-np.inf, np.inf, (3,), np.float32)
    np.testing.assert_array_equal(foreign[1].frames, episodes[1].frames)
    np.testing.assert_array_equal(foreign[1].actions, episodes[1].actions)
    assert foreign[1].captions == episodes[1].captions and foreign.state_keys == []
    assert foreign[1].action_known.all() and not foreign[1].rewards.any()
    with pytest.raises(ValueError, match="`video_key` must be one of"):
        open_dataset(dataset.path, video_key="observation.images.wrist")
    with pytest.raises(ValueError, match="only data sets recorded by worldsim"):
        DatasetWriter(dataset.path, foreign.info)


def test_what_is_no_data_set_is_refused_with_a_way_out(tmp_path, dataset, lossless):
    with pytest.raises(FileNotFoundError, match="worldsim record"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="even sides, got 24x15; record with quality=training"):
        DatasetWriter(tmp_path / "odd", make_info(frame_size=(15, 24), quality="people"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="no data set"):
        DatasetWriter(tmp_path / "full", lossless)
    assert (tmp_path / "full/letter.txt").exists()
    info = dataset.path / "meta/info.json"
    info.write_text(info.read_text().replace('"v3.0"', '"v2.1"'))
    with pytest.raises(ValueError, match="v3.0, got v2.1"):
        open_dataset(dataset.path)
    info.write_text("{")
    with pytest.raises(ValueError, match="info.json"):
        open_dataset(dataset.path)


def test_a_folder_of_somebody_else_is_not_taken_for_an_unfinished_data_set(tmp_path, lossless):
    """It was removed with all it held when the data set was closed."""
    letter, note = tmp_path / "set.partial/letter.txt", tmp_path / "other.partial"
    letter.parent.mkdir()
    letter.write_text("precious")
    note.write_text("precious")
    with pytest.raises(FileExistsError, match="nothing but unfinished work, got letter"):
        DatasetWriter(tmp_path / "set", lossless)
    with pytest.raises(FileExistsError, match="nothing but unfinished work, got a file"):
        DatasetWriter(tmp_path / "other", lossless)
    assert [item.name for item in letter.parent.iterdir()] == ["letter.txt"]
    assert letter.read_text() == note.read_text() == "precious"


@pytest.mark.parametrize(
    "change, says",
    [
        ({"actions": np.zeros((8, 3), np.float32)}, "off by one"),
        ({"rewards": np.zeros(6, np.float32)}, "'rewards': 6"),
        ({"frames": np.zeros((8, 16, 24, 3), np.float32)}, "uint8"),
        ({"actions": np.zeros((7, 3), np.float64)}, "float32"),
        ({"caption_index": np.full(8, 2)}, "2 captions, got 2..2"),
        ({"state": {"speed": np.zeros(7, np.float32)}}, "'speed': 6"),
    ],
)
def test_a_misaligned_episode_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        Episode(**make_episode(0).__dict__ | change)


def test_an_episode_of_another_size_is_refused(tmp_path, lossless):
    for dataset in (MemoryDataset(lossless), DatasetWriter(tmp_path / "set", lossless)):
        with pytest.raises(ValueError, match=r"\(16, 24\)"):
            dataset.append(make_episode(0, size=(16, 16)))


@pytest.mark.parametrize("state", [{}, {"speed": (8,)}, {"speed": (8, 2), "place": (8, 2)}])
def test_an_episode_of_other_states_is_refused_before_the_next_is_recorded(
    tmp_path, lossless, state
):
    """It once stopped the data set from being closed, when all was recorded."""
    other = replace(make_episode(1), state={k: np.zeros(s, np.float32) for k, s in state.items()})
    for path in (tmp_path / "set", tmp_path / "set"):  # while it is recorded, when it is extended
        with DatasetWriter(path, lossless) as writer:
            writer.append(make_episode(0))
            with pytest.raises(ValueError, match="the same states"):
                writer.append(other)
    slash = replace(other, state={"pos/x": np.zeros(8, np.float32)})
    with pytest.raises(ValueError, match="must not hold a slash"):
        DatasetWriter(tmp_path / "new", lossless).append(slash)


def test_inspect_tells_the_same_of_memory_and_disk(dataset, lossless, episodes):
    text = inspect(dataset)
    assert text == inspect(MemoryDataset(lossless, episodes))
    for part in ("Toy-v0", "24x16 at 10 fps", "state.speed", "a road", "biome", "desert 100%"):
        assert part in text


def test_inspect_counts_discrete_actions():
    episode = Episode(
        np.zeros((5, 8, 8, 3), np.uint8), np.eye(3, dtype=np.float32)[np.array([0, 0, 0, 2])]
    )
    info = make_info(frame_size=(8, 8), action_space=spaces.Discrete(3))
    assert "75.0%" in inspect(MemoryDataset(info, [episode]))


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(0, 1, (3,), np.float32)])
def test_inspect_counts_only_actions_with_a_label(space):
    """Those without one were once counted as zeros, of choices without a word."""
    actions = np.eye(3, dtype=np.float32)[np.array([0, 0, 0, 2])]
    info = make_info(frame_size=(8, 8), action_space=space)

    def told(known):
        episode = Episode(np.zeros((5, 8, 8, 3), np.uint8), actions, action_known=known)
        return inspect(MemoryDataset(info, [episode]))

    text = told([False, True, True, True])
    assert "25.0% of the steps have no action label" in text
    assert ("66.7%" if isinstance(space, spaces.Discrete) else "0.6667") in text
    assert "100.0% of the steps have no action label" in told([False] * 4)


def test_preview_draws_a_sheet_and_a_film(dataset, tmp_path):
    preview(dataset, tmp_path / "sheet.png", episodes=3, columns=5, scale=2)
    assert read_image(tmp_path / "sheet.png").shape[1] == 5 * (48 + 2) + 2
    preview(dataset, tmp_path / "film.mp4", episodes=3, scale=2, seconds=1)
    assert read_video(tmp_path / "film.mp4").shape == (10, 2 * (32 + 14), 2 * 48, 3)
    with pytest.raises(ValueError, match="must end in"):
        preview(dataset, tmp_path / "film.txt")
    with pytest.raises(ValueError, match="`columns` must be at least 1, got 0"):
        preview(dataset, tmp_path / "sheet.png", columns=0)


def test_rows_belong_to_their_episode_where_some_of_a_set_are_missing(
    tmp_path, lossless, episodes, monkeypatch
):
    """Rows were counted from the first on, so that later episodes had the actions of others."""
    monkeypatch.setattr(worldsim.datasets.lerobot_writer, "FRAMES_PER_FILE", 8)
    with DatasetWriter(tmp_path / "set", lossless) as writer:
        for episode in episodes:
            writer.append(episode)
    (tmp_path / "set/data/chunk-000/file-001.parquet").unlink()
    dataset = open_dataset(tmp_path / "set")
    assert_same(dataset[2], episodes[2])
    with pytest.raises(ValueError, match="must hold 6 rows of episode 1, got 0; copy"):
        dataset[1]


def test_a_data_set_goes_where_its_link_leads(tmp_path, monkeypatch, lossless, episodes):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with DatasetWriter(tmp_path / "link", lossless) as writer:
        writer.append(episodes[0])
    assert (tmp_path / "link").is_symlink() and len(open_dataset(tmp_path / "disk")) == 1
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(open_dataset("~/disk")) == 1
    with DatasetWriter("~/home", lossless) as writer:
        writer.append(episodes[0])
    assert (tmp_path / "home/meta/info.json").exists()


def test_statistics_of_pictures_are_those_of_their_pixels(episodes):
    from worldsim.datasets.lerobot_writer import column_stats, image_stats

    frames = np.concatenate([episode.frames for episode in episodes])
    told, pixels = image_stats(frames), column_stats(frames[::8].reshape(-1, 3) / 255)
    for name, values in pixels.items():
        np.testing.assert_allclose(np.ravel(told[name]), values, atol=1e-12)
