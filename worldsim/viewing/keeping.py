"""What people play becomes training data: episodes go to a data set in the LeRobot layout."""

from pathlib import Path

from worldsim.datasets.observing import describe_env
from worldsim.datasets.writing import DatasetWriter
from worldsim.viewing.stage import Stage


def keep_episode(path: Path, stage: Stage) -> tuple[int, int]:
    """Add what was played on a stage to a data set, which is whole before and after.

    Args:
        path: Folder of the data set.
        stage: Whose episode; however fast it was played, its env's pace is written.

    Returns:
        The steps of the episode, and the episodes that the data set holds now.

    Raises:
        ValueError: If nothing was played, or the data set holds another kind of episodes.
    """
    episode = stage.tape.episode()
    recording = {"policy": "played", "title": stage.title}
    info = describe_env(stage.env, round(stage.fps), episode.frames.shape[1:3], recording)
    path.parent.mkdir(parents=True, exist_ok=True)
    with DatasetWriter(path, info) as writer:
        writer.append(episode)
        count = writer.written
    return len(episode), count
