"""Rewriter of commands: `rewrite` confines a command to its lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from berth.commands import gpu_request, loops, masking, python
from berth.commands.call import SCRIPT_FILE, Call, CallParts, LeaseSlice
from berth.commands.launchers import registry
from berth.commands.launchers.known import Surroundings
from berth.commands.model import CommandView, LeaseFacts, Rewritten, Runtime
from berth.commands.reading import read
from berth.commands.recognise import BUNDLED_SCRIPT
from berth.commands.words import Word, assignment, word
from berth.commands.wrappers import is_assignment, name_and_value, program_name
from berth.protocol.states import Launcher

# What stands behind them is theirs, not a script's.
_OWN_ARGUMENTS = frozenset(known.launcher for known in registry.ALL if known.options is None)
_REWRITTEN = frozenset({*registry.KNOWN, Launcher.PYTHON})
_OWNED = frozenset(
    {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "MASTER_ADDR", "MASTER_PORT", "PYTHON_EXEC"}
)
_OWNED_PREFIXES = ("PET_", "BERTH_")


def rewrite(view: CommandView, lease: LeaseFacts, runtime: Runtime) -> Rewritten:
    """
    Confine a command to its lease, and list every change.

    Raises CommandError when the lease cannot serve the command (deepspeed without a GPU).
    """
    parts = view.parts or read(list(view.argv)).parts or CallParts()
    leased = LeaseSlice(
        visible=lease.visible,
        indices=lease.indices,
        port=lease.port,
        uuids=lease.uuids,
        python=runtime.python,
        accelerate_config=runtime.accelerate_config,
        simulated=lease.simulated,
        gang=lease.gang,
        changes=list(parts.changes),
    )
    if parts.source is None:
        argv, text = _plain(parts, leased, runtime), None
        if parts.file_text is not None:
            argv = [word(runtime.script_file) if w.text == SCRIPT_FILE else w for w in argv]
    else:
        text = _spliced(parts, leased, runtime, sole=view.script_path is not None)
        argv = [*parts.shell, word(text), *parts.shell_arguments]
    own = _own_environment(parts.assignments, leased)
    if text is None:
        own |= leased.variables
    unseen = text is not None or view.launcher not in _REWRITTEN
    # ray.init() would join whatever Ray was started last on this box, with that one's GPUs.
    apart = {} if _chooses_ray(parts, own) else {"RAY_ADDRESS": "local"}
    env = apart | own | _environment(leased, unseen=unseen)
    shown = [assignment("CUDA_VISIBLE_DEVICES", gpu_request.joined(lease.visible))]
    shown += [assignment(name, value) for name, value in own.items()]
    after = masking.line([*shown, *(argv if text is None else parts.shell)])
    if text is not None:
        rest = masking.line(list(parts.shell_arguments))
        after = masking.shortened(f"{after} {masking.quoted(text)} {rest}".rstrip())
    return Rewritten(
        argv=tuple(each.text for each in argv),
        env=env,
        changes=tuple(leased.changes),
        before=view.text,
        after=after,
        launcher=view.launcher,
        script=text,
        file_text=parts.file_text,
    )


def _chooses_ray(parts: CallParts, own: Mapping[str, str]) -> bool:
    """True if the command starts a Ray of its own, or says which one it means."""
    return "RAY_ADDRESS" in own or any(
        call.launcher is Launcher.RAY or "RAY_ADDRESS" in call.variables for call in parts.calls
    )


def _environment(leased: LeaseSlice, *, unseen: bool) -> dict[str, str]:
    """
    Keep launchers to the lease where their command line cannot.

    PET_… are the defaults of torchrun's options, accelerate's launcher obeys them too. A
    torchrun or accelerate that Berth cannot see (in a script) takes a port of its own.
    """
    gang = leased.gang
    several = gang.nodes > 1
    env = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": gpu_request.joined(leased.visible),
        "PET_STANDALONE": "1" if (unseen and not several) or leased.port is None else "0",
        "PET_NNODES": str(gang.nodes) if several else "1:1",
        "PET_NODE_RANK": str(gang.rank),
        "PET_MASTER_ADDR": gang.address,
        "PET_RDZV_ENDPOINT": "",
        "PET_RDZV_BACKEND": "static",
    }
    if leased.port is not None:
        env |= {
            "MASTER_ADDR": gang.address,
            "MASTER_PORT": str(leased.port),
            "PET_MASTER_PORT": str(leased.port),
        }
    return env


def _own_environment(assignments: tuple[Word, ...], leased: LeaseSlice) -> dict[str, str]:
    """The command's own assignments without those that Berth decides."""
    own: dict[str, str] = {}
    for each in assignments:
        name, value = name_and_value(each)
        if _owned(name):
            leased.note(each.raw, _became(name, leased), _why(name, leased))
        else:
            own[name] = value
    return own


def _plain(parts: CallParts, leased: LeaseSlice, runtime: Runtime) -> list[Word]:
    call = parts.calls[0]
    _note_nohup(call, leased)
    return [*call.wrapper, *_program(call, parts, leased, runtime)]


def _note_nohup(call: Call, leased: LeaseSlice) -> None:
    if call.nohup:
        leased.note(call.nohup, "", "Berth keeps the job running when you log out.")


def _program(
    call: Call, parts: CallParts, leased: LeaseSlice, runtime: Runtime, *, sole: bool = True
) -> list[Word]:
    if call.launcher not in _REWRITTEN:
        return [*call.program, *call.parsed.arguments]
    parsed = call.parsed
    script = parsed.script
    bundled = runtime.bundled_trainer
    if script and sole and bundled and not runtime.script_exists and not call.runs_module:
        name = program_name(script)
        if name == BUNDLED_SCRIPT:
            leased.note(
                script.raw,
                bundled,
                "The job's folder has no such file; Berth's bundled trainer runs instead.",
            )
            script = word(bundled)
    arguments = parsed.arguments
    if call.launcher not in _OWN_ARGUMENTS:
        arguments = python.rewrite_arguments(arguments, leased)
    call = replace(call, parsed=replace(parsed, script=script, arguments=arguments))
    known = registry.KNOWN.get(call.launcher)
    if known is None:
        return python.rewrite(call, leased)
    return known.rewrite(call, leased, Surroundings(call.variables, parts.configs))


def _spliced(parts: CallParts, leased: LeaseSlice, runtime: Runtime, *, sole: bool) -> str:
    """The shell text with its calls rewritten where they stand."""
    text = parts.source or ""
    pieces: list[str] = []
    at = 0
    for call in parts.calls:
        part = _part_of(call, parts.named, leased)
        words = _shell_words(call, parts, part, runtime, sole=sole)
        pieces.append(text[at : call.start])
        if words is None:
            pieces.append(text[call.start : call.end])
        else:
            pieces.append(" ".join([*(each.raw for each in words), *_inner(call)]))
        at = call.end
    return "".join([*pieces, text[at:]])


def _inner(call: Call) -> list[str]:
    return [call.redirects] if call.redirects else []


def _part_of(call: Call, named: tuple[int, ...], leased: LeaseSlice) -> LeaseSlice:
    """Return the GPUs of one call where a text names several sets of GPUs."""
    wanted = call.indices
    if not wanted or set(wanted) == set(named) or not leased.visible:
        return leased
    places = sorted({named.index(each) % len(leased.visible) for each in wanted if each in named})
    return replace(
        leased,
        visible=tuple(leased.visible[place] for place in places),
        indices=tuple(leased.indices[place] for place in places),
        uuids=tuple(leased.uuids[place] for place in places) if leased.uuids else (),
    )


def _shell_words(
    call: Call, parts: CallParts, leased: LeaseSlice, runtime: Runtime, *, sole: bool
) -> list[Word] | None:
    """The words of one call in a shell text, or None when they stay as they are."""
    name = call.program[0].text if call.program else ""
    if name in {"export", "declare", "typeset", "local", "readonly", "unset"}:
        return _declared(call, name, leased)
    assigned = _assigned(list(call.assignments), leased, call.loop)
    if call.launcher not in _REWRITTEN:
        if assigned == list(call.assignments) and not call.nohup:
            return None
        words = [*assigned, *call.wrapper, *call.program, *call.parsed.arguments]
        _note_nohup(call, leased)
        return words or [word(":")]
    _note_nohup(call, leased)
    leased = replace(leased, variables={})
    words = _program(call, parts, leased, runtime, sole=sole)
    kept = [each for each in assigned if name_and_value(each)[0] not in leased.variables]
    added = [assignment(name, value) for name, value in leased.variables.items()]
    return [*kept, *added, *call.wrapper, *words]


def _declared(call: Call, name: str, leased: LeaseSlice) -> list[Word] | None:
    """`export CUDA_VISIBLE_DEVICES=4,5` and `unset CUDA_VISIBLE_DEVICES`."""
    operands = list(call.program[1:])
    if name == "unset":
        kept = [each for each in operands if not _owned(each.text)]
        for each in operands:
            if each not in kept:
                leased.note(f"unset {each.raw}", "", _why(each.text, leased))
    else:
        kept = _assigned(operands, leased)
    if kept == operands:
        return None
    return [*call.assignments, call.program[0], *kept] if kept else [word(":")]


def _assigned(
    words: list[Word], leased: LeaseSlice, loop: tuple[str, tuple[int, ...]] | None = None
) -> list[Word]:
    kept: list[Word] = []
    for each in words:
        name, _ = name_and_value(each)
        if not is_assignment(each) or not _owned(name):
            kept.append(each)
            continue
        counts_from_0 = leased.visible == tuple(range(len(leased.visible)))
        if name == "CUDA_VISIBLE_DEVICES" and loop and leased.visible:
            if counts_from_0 and set(loop[1]) <= set(leased.visible):
                kept.append(each)
                continue
            became = loops.placed(loop[0], leased.visible)
            why = f"One GPU of the job's for each round of the loop ({leased.gpu_names})."
            leased.note(each.raw, became, why)
            kept.append(Word(became, became, literal=False))
            continue
        if name == "CUDA_VISIBLE_DEVICES" and not each.literal and counts_from_0:
            # Set to what only the shell knows: right inside a fence.
            kept.append(each)
            continue
        became = _became(name, leased)
        leased.note(each.raw, became, _why(name, leased))
        if became:
            kept.append(assignment(*became.split("=", 1)))
    return kept


def _owned(name: str) -> bool:
    return name in _OWNED or name.startswith(_OWNED_PREFIXES)


def _became(name: str, leased: LeaseSlice) -> str:
    if name == "CUDA_VISIBLE_DEVICES":
        return f"{name}={gpu_request.joined(leased.visible)}"
    if name == "CUDA_DEVICE_ORDER":
        return f"{name}=PCI_BUS_ID"
    if name == "MASTER_ADDR":
        return f"{name}={leased.gang.address}"
    if name == "MASTER_PORT" and leased.port is not None:
        return f"{name}={leased.port}"
    return ""


def _why(name: str, leased: LeaseSlice) -> str:
    if name == "CUDA_VISIBLE_DEVICES":
        return f"The job was given {leased.gpu_names}."
    if name == "CUDA_DEVICE_ORDER":
        return "Berth counts GPUs in the order of the PCI bus, as nvidia-smi does."
    if name.startswith("MASTER_"):
        return "Every attempt has a rendezvous port of its own on this box."
    return "Berth sets it for the job."
