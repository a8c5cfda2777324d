"""Words that distinguish a counter in a log from others: its label says what it counts."""

from __future__ import annotations

import re

# A count of these is not the run's, whatever else the label says: what goes before training
# (data, weights), and what happens beside it (evaluation, checkpoints).
_BESIDE = re.compile(
    r"""(?:^|\b|_)(?:
    download\w*|fetch\w*|upload\w*|push\w*|pull\w*|load(?:ing|ed)?|read(?:ing)?|writ(?:e|ing)|sav(?:e|ing|ed)|
    stor(?:e|ing)|check(?:ing)?|checkpoint\w*|shards?|tokeni[sz]\w*|encod(?:e|ing)|decod(?:e|ing)|
    map(?:ping)?|filter\w*|pack(?:ing)?|truncat\w*|dropp?(?:ing)?|build(?:ing)?|adding|generat\w*|
    eval\w*|valid\w*|val|test\w*|sanity|dev|predict\w*|infer\w*|sampl\w*|scor(?:e|ing)|
    pre-?process\w*|process(?:ing|ed|es)?|prepar\w*|extract\w*|convert\w*|quanti[sz]\w*|calibrat\w*|
    cach\w*|warm\w*|compil\w*|captur\w*|collect\w*|resolv\w*|unpack\w*|import\w*|index\w*|scan\w*|
    comput(?:e|ing)|merg(?:e|ing)|export\w*|clean\w*|sort\w*|shuffl\w*|split\w*|creat(?:e|ing)|
    initiali[sz]\w*|install\w*|copy\w*|render\w*|plot\w*|embed(?:ding)?s?
    )(?:\b|_|$)""",
    re.IGNORECASE | re.VERBOSE,
)
# Numbers with these names are no count of anything done; bars have them in their descriptions.
_NO_COUNT = re.compile(
    r"""(?:^|\b|_)(?:
    micro|accum\w*|skipped|nan|rank|workers?|process|devices?|gpus?|nodes?|hosts?|files?|layers?|
    acc|accuracy|correct|mem|memory|ram|vram|retr(?:y|ies)|attempts?|losses|grad|params?|parameters|
    trainable|port|length|patience|early|best|bad|size|lr|seed|bits?|degree|parallel\w*|
    top|precision|recall|f1|iou|map50|bleu|rouge|wer|reward|examples?|documents?|questions?|prompts?|
    requests?|images? saved|buckets?|blocks?|heads?|version|python|cuda|queued?|depth|pending|slots?|
    capacity|usage|used|free|score|quota|threads?|cores?|cpus?|connections?
    )(?:\b|_|$)""",
    re.IGNORECASE | re.VERBOSE,
)
# Units of a rate that training steps do not have.
_OTHER_UNIT = re.compile(
    r"\d\s?(?:[kKMGT]?i?B|bytes|examples|ex|files?|shards?|docs?|documents|rows|records|samples|"
    r"images|img|tokens|tok|words|lines|req\w*|queries|pages|objects|layers?)/s\b(?!\s*[=:])"
)
_OUTER = re.compile(
    r"(?:^|\b|_)(?:epochs?|ep|pass|passes|cycles?|folds?|phases?|stages?|trials?|"
    r"generations?|rounds?|runs?|seasons?)(?:\b|_|$)",
    re.IGNORECASE,
)
_MEASURED = re.compile(
    r"loss|(?:^|\W)lr\W|learning.?rate|grad|acc\w*\W|ppl|perplex|reward|rmse|\bmae\b|\bmse\b|auc|"
    r"error|bleu|learn:|time[\W_]",
    re.IGNORECASE,
)
_SETTING = re.compile(
    r"(?:^|[ _])(?:max|num|n|total|number)[ _]|(?:epochs|steps|iters|rounds|updates)$"
)
# These count what was done, whatever they are called.
_PRESENT = re.compile(r"(?:^|[ _])(?:current|completed?|done|finished)[ _]|^num[ _]updates$")
STEP_NOUNS = frozenset(
    [
        "step",
        "steps",
        "iter",
        "iters",
        "iteration",
        "iterations",
        "it",
        "update",
        "updates",
        "timesteps",
        "timestep",
    ]
)
EPOCH_NOUNS = frozenset(["epoch", "epochs"])
ROUND_NOUNS = frozenset(["round", "rounds", "tree", "trees", "estimators"])
_BEFORE_NOUN = frozenset(
    [
        "num",
        "max",
        "n",
        "total",
        "train",
        "training",
        "optimization",
        "optimizer",
        "optimisation",
        "update",
        "number",
        "of",
        "the",
        "global",
        "trainer",
        "args",
        "model",
        "boost",
        "boosting",
        "config",
        "maximum",
        "gradient",
    ]
)


def beside(label: str) -> bool:
    """True if something with this label is surely not the run's own count."""
    return _BESIDE.search(label) is not None


def no_count(label: str) -> bool:
    """True if a number with this label says nothing of what is done."""
    return _NO_COUNT.search(label) is not None


def other_unit(text: str) -> bool:
    """True if what follows a count gives its rate in something that is no step."""
    return _OTHER_UNIT.search(text) is not None


def setting(label: str) -> bool:
    """True if the label is of a total, like `max_iters` or `epochs`."""
    return _SETTING.search(label) is not None and _PRESENT.search(label) is None


def outer(label: str) -> bool:
    """True if the label is of something that usually holds many steps, like an epoch."""
    return _OUTER.search(label) is not None


def measured(text: str) -> bool:
    """True if a text says what training measures."""
    return _MEASURED.search(text) is not None


def noun_class(word: str) -> str | None:
    """`step`, `epoch` or `round`, whichever a word is another form of; else None."""
    word = word.lower()
    if word in STEP_NOUNS:
        return "step"
    if word in EPOCH_NOUNS:
        return "epoch"
    return "round" if word in ROUND_NOUNS else None


def total_of(name: str) -> str | None:
    """Unit that a setting of this name counts: steps for `max_train_steps`; None for others."""
    words = [word for word in re.split(r"[\s_.\-]+", name.lower()) if word]
    if not words or len(words) > 6:
        return None
    found = noun_class(words[-1])
    # "max_epoch" is a total as "epochs" is; "epoch" alone is the present one.
    if found is None or not (words[-1].endswith("s") or words[0] in {"max", "num", "n", "total"}):
        return None
    return found if all(word in _BEFORE_NOUN for word in words[:-1]) else None
