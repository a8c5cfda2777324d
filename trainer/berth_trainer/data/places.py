"""Files that samples come from, for messages: the columns of a corpus keep none."""

from berth_trainer.config.settings import Settings
from berth_trainer.data.realpersonachat import dialogue_file, is_realpersonachat
from berth_trainer.data.samples import Sample


def place_of(settings: Settings, split: str, sample: Sample, part: str) -> str:
    """Return the file and the place in it where a part of a sample was read."""
    data = settings.data
    path = settings.locate(
        data.test_path if split == "test" and data.test_path else data.train_path
    )
    turn, name = f"turn {sample.index}", sample.dialogue.id
    if is_realpersonachat(path):
        if part == "profile":
            return f"{path / 'interlocutors.json'}, speaker {sample.target.speaker}"
        return f"{dialogue_file(path, name) or path}, {turn} of dialogue {name}"
    file = path / "train.json" if path.is_dir() else path
    item, collection, dialogue = name.split("/")[-3:]
    if part == "profile":
        return f"{file}, item {item}"
    return f"{file}, item {item}, collection {collection}, dialogue {dialogue}, {turn}"
