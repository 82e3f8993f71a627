from fractions import Fraction
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from worldsim.decoding import frame_rate, read_frames, read_video, read_video_at
from worldsim.images import contact_sheet, read_image, write_image
from worldsim.video import VideoWriter, write_gif, write_video


def smooth_frames(t=24, h=48, w=64, seed=0):
    """A smooth picture that drifts, as frames of a game do."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    wide = cv2.resize(noise, (w + t, h), interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[:, i : i + w] for i in range(t)])


def psnr(a, b):
    return 10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean())


@pytest.mark.parametrize("fps", [10, 29.97])
def test_a_lossless_video_survives_the_disk_bit_by_bit(tmp_path, fps):
    frames = np.random.default_rng(0).integers(0, 256, (11, 33, 47, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", frames, fps, quality="lossless")
    np.testing.assert_array_equal(read_video(tmp_path / "a.mp4"), frames)


def test_a_training_video_keeps_40_decibels_and_the_colours_of_single_pixels(tmp_path):
    frames = smooth_frames()
    frames[:, 10, 10] = (255, 0, 0)  # chroma subsampling would smear it
    write_video(tmp_path / "a.mp4", frames, 10, quality="training")
    read = read_video(tmp_path / "a.mp4")
    assert psnr(read, frames) > 40
    assert read[:, 10, 10, 0].min() > 200 and read[:, 10, 10, 1:].max() < 60


def test_a_video_for_people_is_420_and_pads_odd_sizes(tmp_path):
    av = pytest.importorskip("av")
    write_video(tmp_path / "a.mp4", smooth_frames(h=47, w=63), 10)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].format.name == "yuv420p"
    assert read_video(tmp_path / "a.mp4").shape == (24, 48, 64, 3)


@pytest.mark.parametrize("start", [0, 1, 7, 18])
@pytest.mark.parametrize("fps", [10, 12.5, 29.97])
def test_a_window_is_read_from_the_exact_frame(tmp_path, start, fps):
    frames = smooth_frames()
    write_video(tmp_path / "a.mp4", frames, fps, quality="lossless")
    read = read_frames(tmp_path / "a.mp4", start / fps, 6, fps)
    np.testing.assert_array_equal(read, frames[start : start + 6])


@pytest.mark.parametrize("start", [0, 3, 15, 24, 36, 47])
def test_a_window_of_a_stream_kept_in_fragments_is_read_from_the_exact_frame(tmp_path, start):
    """Such a file is searched by times of decoding, and its B-frames came a frame late."""
    av = pytest.importorskip("av")
    shown = 20 + 4 * np.arange(50)
    options = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(tmp_path / "a.mp4"), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for grey in shown:
            picture = np.full((32, 32, 3), grey, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    read = read_frames(tmp_path / "a.mp4", start / 10, 3, 10)
    np.testing.assert_allclose(read.mean((1, 2, 3)), shown[start : start + 3], atol=2)


def test_asking_for_more_frames_than_there_are_is_refused(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_frames(), 10)
    with pytest.raises(ValueError, match="must hold 20 frames from 1.000 s on, got 14"):
        read_frames(tmp_path / "a.mp4", 1.0, 20, 10)


def test_a_failed_write_leaves_the_older_file_and_nothing_else(tmp_path):
    frames = smooth_frames()
    write_video(tmp_path / "a.mp4", frames, 10, quality="lossless")
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", 10, (48, 64)) as writer:
        writer.write(frames[0])
        raise RuntimeError
    with pytest.raises(ValueError, match="every frame"):
        write_video(tmp_path / "b.mp4", [frames[0], frames[0, 1:]][1][None, :, :, :2], 10)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    np.testing.assert_array_equal(read_video(tmp_path / "a.mp4"), frames)


def test_what_is_no_video_is_refused_by_name(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="a.mp4"):
        read_video(tmp_path / "a.mp4")
    with pytest.raises(FileNotFoundError, match="b.mp4"):
        read_video(tmp_path / "b.mp4")
    with pytest.raises(ValueError, match="`quality` must be one of"):
        write_video(tmp_path / "c.mp4", smooth_frames(), 10, quality="best")


def test_a_file_that_cannot_be_finished_leaves_the_older_one_and_nothing_else(
    tmp_path, monkeypatch
):
    """As on a full disk: the first error was covered by a second, and a part stayed behind."""
    write_video(tmp_path / "a.mp4", smooth_frames(), 10)
    was = (tmp_path / "a.mp4").read_bytes()
    for broken in ("encode", "write"):
        with (
            pytest.raises(OSError, match="no room"),
            VideoWriter(tmp_path / "a.mp4", 10, (48, 64)) as video,
        ):
            video.write(smooth_frames()[0])
            stream = Mock(encode=Mock(side_effect=OSError("no room")))
            if broken == "write":
                video._container = Mock(close=Mock(side_effect=OSError("again")))
            video._stream = stream
            if broken == "write":
                video.write(smooth_frames()[1])
    assert (tmp_path / "a.mp4").read_bytes() == was
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_gif_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"must be \(t, h, w, 3\)"):
        write_gif(tmp_path / "a.gif", smooth_frames()[0], 10)
    with pytest.raises(Exception, match="."):
        write_gif(tmp_path / "a.gif", smooth_frames().astype(np.float32), 10)
    assert not list(tmp_path.iterdir())


def test_a_gif_shows_every_frame(tmp_path):
    write_gif(tmp_path / "a.gif", smooth_frames(), 10)
    assert read_video(tmp_path / "a.gif").shape == (24, 48, 64, 3)
    assert psnr(read_video(tmp_path / "a.gif"), smooth_frames()) > 25


@pytest.mark.parametrize("name, least", [("a.png", 100), ("a.jpg", 30)])
def test_an_image_survives_the_disk(tmp_path, name, least):
    frame = smooth_frames()[0]
    write_image(tmp_path / name, frame)
    with np.errstate(divide="ignore"):
        assert psnr(read_image(tmp_path / name), frame) > least


def test_a_contact_sheet_holds_clips_of_different_length_and_size():
    clips = [smooth_frames(t=9), smooth_frames(t=3, h=20, w=30)]
    sheet = contact_sheet(clips, ["one", "another clip with a far too long name"], 2, columns=4)
    assert sheet.dtype == np.uint8 and sheet.shape == (18 + 98 + 18 + 42 + 2, 4 * 130 + 2, 3)
    np.testing.assert_array_equal(sheet[20:116:2, 2:130:2], clips[0][0])
    with pytest.raises(ValueError, match="a clip per label"):
        contact_sheet(clips, ["one"])


def test_without_pyav_the_message_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ImportError, match="pip install av"):
        write_video(tmp_path / "a.mp4", smooth_frames(), 10)
    contact_sheet([smooth_frames()])


@pytest.mark.parametrize("own, fps, at", [(30, 10, [0, 3, 6, 9]), (5, 10, [0, 0, 1, 1, 2, 2, 3])])
def test_a_film_is_read_at_another_pace(tmp_path, own, fps, at):
    """A film of 30 frames a second once was a third as fast in a world of 10."""
    frames = np.repeat(np.arange(0, 250, 25, np.uint8), 32 * 48 * 3).reshape(-1, 32, 48, 3)
    frames = frames if own == 30 else frames[:4]
    write_video(tmp_path / "film.mp4", frames, own)
    read = read_video_at(tmp_path / "film.mp4", fps)
    assert frame_rate(tmp_path / "film.mp4") == own
    assert np.rint(read.mean((1, 2, 3)) / 25).tolist() == at


def test_a_film_of_uneven_pace_is_read_by_the_times_it_is_shown_at(tmp_path):
    """One that dawdled first was taken for evenly paced: at 2 s it showed what comes at 3.4 s."""
    av = pytest.importorskip("av")
    stamps = 3000 * np.r_[0:10, 10:20:0.25]  # 10 frames a second, then 40
    shown = np.linspace(20, 220, len(stamps))
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30_000)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for at, grey in zip(stamps, shown, strict=True):
            picture = np.full((32, 32, 3), grey, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(at), Fraction(1, 30_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    read = read_video_at(tmp_path / "film.mp4", 10).mean((1, 2, 3))
    nearest = [shown[np.abs(stamps / 30_000 - i / 10).argmin()] for i in range(20)]
    np.testing.assert_allclose(read, nearest, atol=3)
