"""Pasted texts: every launch of a guide, a session or a message is found, and nothing else."""

from __future__ import annotations

import pytest

from berth.commands import CommandError, read
from berth.commands.pasted import launches

GUIDE = """\
# Training guide

Use `deepspeed` and never plain Python. A quick try: `torchrun --nproc-per-node=2 try.py`.

```json
{"training": {"max_length": 2048}}
```

```bash
# the wrong way (out of memory)
python train_deepspeed.py --config config.json

# the right way
deepspeed --num_gpus=4 Gemma/train_deepspeed.py \\
    --config config.json \\
    --output_dir out/a


# method 1
CUDA_VISIBLE_DEVICES=0,1,2,3 accelerate launch --num_processes=4 t.py \\
    --output_dir out/b

CUDA_VISIBLE_DEVICES=4,5,6,7 accelerate launch --num_processes=4 t.py --output_dir out/c
accelerate launch --num_processes=4 t.py --gpu_ids 4,5,6,7
```

```bash
#!/bin/bash
# launch.sh

deepspeed --num_gpus=4 train_deepspeed.py --max_gpus 4
```

```bash
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
pip install deepspeed
```

```
\u2713 using 4 GPUs
```
"""


def test_a_whole_guide_gives_its_launches():
    """Each with the comment before it; settings, output and prose are none."""
    found = launches(GUIDE)

    assert [(one.line, one.comment, read(None, one.text).gpus_wanted) for one in found] == [
        (3, "", 2),
        (11, "the wrong way (out of memory)", None),
        (14, "the right way", 4),
        (20, "method 1", 4),
        (23, "", 4),
        (24, "", 4),
        (28, "", 4),
    ]
    assert [one.is_script for one in found] == [False] * 6 + [True]
    assert found[2].text.count("\\\n") == 2


TEXTS = [
    ("torchrun --nproc_per_node=2 a.py\npython b.py --lr 1\n", 2),
    ("$ torchrun --nproc_per_node=2 a.py\nloss 2.3\npython is nice\n$ python b.py\n", 2),
    ("(twin) ada@box:~/twin$ python a.py\nEpoch 1\n", 1),
    ("1. python a.py\n2. python b.py\n", 2),
    ("- trl sft --model_name_or_path m\n- axolotl train x.yaml\n", 2),
    ("Please look at train.py and tell me whether deepspeed is fine.\nThanks", 0),
    ("pip install torch\ncd x\nls\n", 0),
    ("python a.py\n\npython a.py\n", 1),
    ("for s in 1 2 3; do\n  python a.py --seed $s\ndone\n", 1),
    ("```console\n$ deepspeed --num_gpus=2 a.py\n[2026] ok\n```\n", 1),
    ("~~~\ntorchrun a.py\n~~~", 1),
    ("```python\nimport deepspeed\n```", 0),
    ("#!/bin/bash\n#SBATCH --array=0-3\npython a.py\n", 1),
    ("python -m twin.train --x\n", 1),
    ("python -c 'print(1)'\npython -V\n", 0),
    ("", 0),
]


@pytest.mark.parametrize(("text", "count"), TEXTS, ids=lambda v: str(v)[:30])
def test_texts_of_every_kind(text, count):
    """Sessions with prompts, lists, blocks, plain lines."""
    assert len(launches(text)) == count


def test_what_prepares_the_shell_goes_with_each_launch():
    """A launch alone would miss it."""
    found = launches("```bash\nexport A=1\ncd twin\npython a.py\npython b.py\n```")

    assert [one.command for one in found] == [
        "export A=1 && cd twin && python a.py",
        "export A=1 && cd twin && python b.py",
    ]


def test_a_text_beyond_all_measure_is_refused():
    """With what to do."""
    with pytest.raises(CommandError, match="paste the part"):
        launches("python a.py\n" * 30_000)


def test_several_launches_in_one_quoted_text_are_named():
    """They run in turn in one job, as a shell would; nobody is surprised."""
    note = "`berth submit --paste`"

    assert any(note in w for w in read("torchrun a.py\ndeepspeed b.py").warnings)
    assert not any(note in w for w in read("torchrun a.py && deepspeed b.py").warnings)
    assert not any(note in w for w in read(None, "torchrun a.py\ndeepspeed b.py").warnings)


def test_what_a_line_runs_does_not_run_before_the_next_launch():
    """A folder is kept, the script that was started in it is not repeated."""
    text = "cd examples && bash download.sh\nexport A=1; export B='x; y'\ntorchrun --nproc_per_node=2 t.py\n"

    (launch,) = launches(text)

    assert launch.setup == ("cd examples", "export A=1; export B='x; y'")
