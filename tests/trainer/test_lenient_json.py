"""The users' config files: JSON with comments and trailing commas."""

import pytest

from berth_trainer.config.lenient_json import parse
from berth_trainer.errors import UserError


def test_comments_and_trailing_commas_are_welcome():
    """The users' documents are read as if they were plain JSON."""
    text = """{
      // a comment with "quotes" and a }
      "a": [1, 2, /* inside */ 3,], // after
      "b": {"c": "d",},
    }"""

    assert parse(text, "config.json") == {"a": [1, 2, 3], "b": {"c": "d"}}


def test_text_inside_strings_is_left_alone():
    """A URL or a comma before a bracket inside a string is no comment and no extra comma."""
    text = r'{"url": "https://host/x", "odd": ",]", "quoted": "a \" // b", "back": "\\"}'

    assert parse(text, "config.json") == {
        "url": "https://host/x",
        "odd": ",]",
        "quoted": 'a " // b',
        "back": "\\",
    }


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{\n  "a": 1\n  "b": 2\n}', "line 3, column 3"),
        ('{\n  // one\n  "a": nope\n}', "line 3, column 8"),
        ('{"a": [1,, 2]}', "line 1, column 10"),
        ('{"a": "open\n}', "line 1, column 12"),
        ("", "line 1, column 1"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(text, place):
    """The place is that of the file as the user sees it, comments counted."""
    with pytest.raises(UserError) as caught:
        parse(text, "config.json")

    assert caught.value.sentence.startswith(f"config.json is not valid JSON at {place}: ")
    assert "\n" not in caught.value.sentence


def test_a_key_that_stands_twice_is_refused():
    """JSON would silently take the last one."""
    with pytest.raises(UserError, match="names the key 'a' twice"):
        parse('{"a": 1, "a": 2}', "config.json")
