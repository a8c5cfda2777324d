"""
Scan of shell text: lines with pipes, &&, redirections or expansions, and whole scripts.

The text keeps its meaning. Launcher calls in it that can be read are rewritten where they
stand; what cannot be read is left alone and kept in bounds by the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from berth.commands import gpu_request, loops
from berth.commands.call import Call
from berth.commands.errors import CommandError
from berth.commands.expansion import Variables
from berth.commands.gpu_count import RANKED, STARTERS, decide, unsettled
from berth.commands.gpu_request import GpuRequest
from berth.commands.hints import counts
from berth.commands.launchers import registry
from berth.commands.launchers.known import Surroundings
from berth.commands.recognise import Recognised, read_flags, recognise
from berth.commands.words import Segment, Word, split
from berth.commands.wrappers import is_assignment, name_and_value, program_name
from berth.protocol.attempts import Change
from berth.protocol.states import Launcher

BUILTINS = frozenset(
    {"!", "{", "(", "[", "[[", ".", ":", "alias", "bg", "builtin", "cd", "command", "declare"}
    | {"disown", "echo", "eval", "exec", "exit", "export", "fg", "function", "for", "case"}
    | {"if", "jobs", "let", "local", "popd", "printf", "pushd", "read", "readonly", "select"}
    | {"set", "shift", "shopt", "source", "test", "time", "times", "trap", "type", "typeset"}
    | {"ulimit", "umask", "unalias", "unset", "until", "wait", "while"}
)
"""Words that mean something only to a shell."""

_KEYWORDS = frozenset({"if", "then", "elif", "else", "do", "while", "until", "{", "!"})
_NO_COMMAND = frozenset({"for", "case", "select", "function", "done", "fi", "esac", "}"})
_EXPORTS = frozenset({"export", "declare", "typeset", "local", "readonly"})
_ACTIVATES = frozenset(
    {"source", ".", "conda", "mamba", "micromamba", "module", "ml", "eval", "pyenv", "workon"}
)
_LEFT_BEHIND = (
    "It leaves a run in the background, and the job ends when its shell ends; remove the `&` or end "
    "with `wait`."
)
# The code of the last run in the background, or of what stands before.
_WAIT = "berth_code=$?; wait $! || berth_code=$?; wait; exit $berth_code"
_APPENDS = re.compile(r"[A-Za-z_]\w*\+=")


@dataclass
class ScriptScan:
    """The launcher calls, requests and warnings found in a shell text."""

    calls: list[Call] = field(default_factory=list[Call])
    """Everything in it that may have to be changed, in order."""
    requests: list[GpuRequest] = field(default_factory=list[GpuRequest])
    warnings: list[str] = field(default_factory=list[str])
    count_notes: list[str] = field(default_factory=list[str])
    """Reasons that the number of GPUs could not be read."""
    config_files: list[str] = field(default_factory=list[str])
    paste_note: str | None = None
    """The note on a pasted text of several launches, where it is no script."""
    exported: list[str] = field(default_factory=list[str])
    """Notes on exported variables that read like a number of GPUs."""
    at_once: int = 0
    """Number of runs in the background without GPUs of their own."""
    at_once_in_loop: bool = False
    """True if one of them is started by a loop."""
    loops: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    """Variables of the loops so far that go through numbers."""
    moved: bool = False
    """True if a `cd` stands before the first launcher."""
    ending: str = ""
    """Words that are put behind the text."""
    changes: tuple[Change, ...] = ()
    """The change that they make."""
    piped_to_tee: bool = False
    """True if an exit code would be replaced by tee's."""

    @property
    def starting(self) -> list[Call]:
        """The calls that start a training script."""
        return [call for call in self.calls if call.launcher in RANKED | {Launcher.PYTHON}]

    @property
    def named(self) -> tuple[int, ...]:
        """Every GPU that the text names."""
        found = {index for request in self.requests for index in request.indices or ()}
        return tuple(sorted(found))

    @property
    def request(self) -> GpuRequest:
        """The GPUs that the whole text asks for: the most of any one call, and at least every GPU named."""
        counts = [request.count for request in self.requests if request.count is not None]
        if not counts:
            return GpuRequest()
        most = max(*counts, len(self.named))
        return GpuRequest(most, self.named if len(self.named) == most else None)

    def warn(self, sentence: str) -> None:
        """Add a warning unless it is there already."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)


def scan_script(source: str, outer: Mapping[str, str], around: Surroundings) -> ScriptScan:
    """
    Scan a shell text; `outer` holds the variables assigned before the shell.

    Raises CommandError for text that is never closed and for calls that cannot run here.
    """
    found = ScriptScan()
    segments = split(source)
    known = Variables({**around.given, **outer})
    exported = _visible(known.plain, GpuRequest())
    activated = False
    counted = loops.counted(source)
    for at, segment in enumerate(segments):
        always = known.enter(segment)
        words = _command_words(segment)
        if _is_loop(found, segment, counted, known) or not words:
            continue
        resolved = [known.resolve(each) for each in words]
        name = program_name(resolved[0])
        recognised, call = _recognise(resolved, known, activated=activated)
        for sentence in recognised.warnings:
            found.warn(sentence)
        call = _placed(call, words, segment)
        if name in _EXPORTS or not call.program or _APPENDS.match(words[0].raw):
            known.learn(resolved, always=always)
            exported = _visible(known.plain, exported)
            named = {name_and_value(each)[0] for each in resolved if is_assignment(each)}
            activated = activated or "PATH" in named
            said = exported if "CUDA_VISIBLE_DEVICES" in named else GpuRequest()
            found.calls.append(replace(call, indices=said.indices))
            found.requests.append(said)
            if name in _EXPORTS and (hint := counts.flag_like(resolved[1:])):
                found.exported.append(counts.note_flag(hint))
            continue
        activated = activated or name in _ACTIVATES
        if name in {"cd", "pushd"} and not found.starting:
            found.moved = True
        variables = {**around.variables, **known.plain, **_inline(call)}
        call, whole = (replace(each, variables=variables) for each in (call, recognised.call))
        if call.background and call.launcher in STARTERS | {Launcher.PYTHON}:
            _count_background(found, call, in_loop=known.loops > 0)
        _take(found, call, replace(whole, background=call.background), exported, around)
        _about_place(found, call, segments, at)
    _about_all(found, segments)
    return found


def _is_loop(
    found: ScriptScan, segment: Segment, counted: list[loops.Counted], known: Variables
) -> bool:
    """True for the head of a loop; its variable is learnt where it goes through numbers."""
    if head := loops.around(segment, counted):
        if values := head.values(known.plain):
            found.loops[head.variable] = values
        return True
    if looped := loops.loop(segment.words):
        found.loops[looped[0]] = looped[1]
    return looped is not None


def _recognise(
    resolved: list[Word], known: Variables, *, activated: bool
) -> tuple[Recognised, Call]:
    """
    The call with every word that can be known, for reading, and as it is to be written.

    Where `$ARGS` holds a launcher's own options they are written out; a script's arguments stay
    as they were.
    """
    expanded = known.expand(resolved)
    recognised = recognise(expanded, activated=activated)
    call = recognised.call
    if len(expanded) == len(resolved) or call.launcher not in STARTERS:
        return recognised, recognise(resolved, activated=activated).call
    script = call.parsed.script
    at = next((n for n, each in enumerate(resolved) if each is script), None)
    if at is None:
        return recognised, call
    return recognised, replace(
        call, parsed=replace(call.parsed, arguments=tuple(resolved[at + 1 :]))
    )


def _inline(call: Call) -> dict[str, str]:
    """The call's own assignments, as far as they are plain."""
    return dict(name_and_value(each) for each in call.assignments if each.literal)


def _count_background(found: ScriptScan, call: Call, *, in_loop: bool) -> None:
    """Count the runs that go on at the same time and have no GPUs of their own."""
    own = any(name_and_value(each)[0] == "CUDA_VISIBLE_DEVICES" for each in call.assignments)
    if not own:
        found.at_once += 1
        found.at_once_in_loop |= in_loop


def _take(
    found: ScriptScan, call: Call, whole: Call, exported: GpuRequest, around: Surroundings
) -> None:
    """Add a call; `whole` is the same with every word that can be known."""
    inline = _inline(call)
    looped = loops.of_assignments(call.assignments, found.loops)
    if looped:
        call = replace(call, loop=looped)
        exported = _looped(call, looped)
    if call.launcher not in STARTERS | {Launcher.PYTHON}:
        if call.launcher is Launcher.SHELL:
            found.warn(opaque(call))
        said = _visible(inline, exported if looped else GpuRequest())
        found.requests.append(said)
        found.calls.append(replace(call, indices=said.indices))
        _note_count(found, call, said, said)
        return
    refuse_dashes(whole)
    reading = read_flags(whole, replace(around, variables=call.variables))
    environment = _visible(inline, exported)
    request, warnings = decide(whole, reading.request, environment)
    for sentence in (*reading.warnings, *warnings, *_opaque_options(whole)):
        found.warn(sentence)
    _note_count(found, whole, request, environment)
    if not found.moved:
        found.config_files += registry.config_files(whole)
    found.requests.append(request)
    found.calls.append(replace(call, indices=request.indices))


def _looped(call: Call, looped: tuple[str, tuple[int, ...]]) -> GpuRequest:
    """GPUs that a call in a loop over GPUs asks for: all at once behind `&`, else one by one."""
    name, values = looped
    said = f"CUDA_VISIBLE_DEVICES=${name}"
    return GpuRequest(len(values), values, said) if call.background else GpuRequest(1, None, said)


def _note_count(
    found: ScriptScan, call: Call, request: GpuRequest, environment: GpuRequest
) -> None:
    """Add notes where something asks for GPUs and their number cannot be read."""
    if request.count is not None:
        return
    unread = [
        each.raw for each in call.assignments if name_and_value(each)[0] == "CUDA_VISIBLE_DEVICES"
    ]
    if unread or environment.said:
        notes = [counts.note_visible(unread[0] if unread else environment.said)]
    else:
        notes = [*unsettled(call, request), *counts.unread(call)]
    found.count_notes += [each for each in notes if each not in found.count_notes]


def opaque(call: Call) -> str:
    """The warning for a shell script in a file."""
    files = [each.text for each in call.parsed.arguments if not each.startswith("-")]
    name = files[0] if files else call.program[-1].text
    return (
        f"Berth changes nothing in {name}: flags in it, such as --num_gpus and --master_port, stay "
        "as they are; submit the launcher's own command line to have them set."
    )


def refuse_dashes(call: Call) -> None:
    """Refuse options with a typographic dash, as chats and word processors write them."""
    script = call.parsed.script
    if script and script.text[:1] in {"–", "—", "−"}:  # noqa: RUF001 - those dashes are meant
        raise CommandError(
            f"{script.text} begins with a typographic dash; write it with two hyphens, "
            f"--{script.text[1:]}."
        )


def _opaque_options(call: Call) -> list[str]:
    return [
        f"Berth cannot see which options {flag.words[0].raw} holds; write them out so that "
        "GPUs and port can be set."
        for flag in call.flags
        if not flag.known and not flag.words[0].literal
    ]


def _about_place(found: ScriptScan, call: Call, segments: list[Segment], at: int) -> None:
    segment = segments[at]
    runs = call.launcher in STARTERS | {Launcher.PYTHON, Launcher.SHELL}
    if not runs and "/" not in call.program[0].text and len(segments) > 1:
        return  # one of several commands, which may write a file of its own
    for redirect in segment.redirects:
        if redirect.keeps_output and redirect.target != "/dev/null":
            found.warn(
                f"The output goes to {redirect.target}, so the job's log stays empty; "
                f"remove `{redirect.raw}` to follow it with `berth logs -f`."
            )


def _about_all(found: ScriptScan, segments: list[Segment]) -> None:
    if found.at_once > 1 or found.at_once_in_loop:
        found.count_notes.append(counts.AT_ONCE)
    if not found.count_notes:
        found.count_notes += found.exported
    found.piped_to_tee = any(
        before.operator in {"|", "|&"} and _is_tee(segment)
        for before, segment in pairwise(segments)
    )
    ranked = [call for call in found.calls if call.launcher in RANKED]
    looped = found.at_once_in_loop and any(call.background for call in ranked)
    if looped or (len(ranked) > 1 and any(call.background for call in ranked)):
        found.warn(
            "It starts several launchers at once on the same GPUs and port; "
            "submit each as a job of its own."
        )
    several = len(ranked) > 1 and not any(call.background for call in ranked)
    lines = {segment.operator for segment in segments[:-1]}
    if several and "\n" in lines and lines <= {"\n", ";"}:
        found.paste_note = (
            f"It holds {len(ranked)} launches, which run one after another in one job; "
            "`berth submit --paste` makes a job of each."
        )
    waits = any(segment.words and segment.words[0].text == "wait" for segment in segments)
    if not waits and any(call.background for call in found.starting):
        found.warn(_LEFT_BEHIND)


def wait_for_runs(found: ScriptScan, *, stripped: bool) -> None:
    """
    Let a line wait for its runs where all of them are in the background.

    A line with a run in the foreground ends with it, and what else it started was to end then.
    `stripped` says that the last run's `&` was taken off.
    """
    runs = [call.background for call in found.starting]
    if _LEFT_BEHIND not in found.warnings or not all(runs[:-1] if stripped else runs):
        return
    found.warnings.remove(_LEFT_BEHIND)
    found.ending = _WAIT
    why = "The job ends when its shell ends, and would take the runs in the background with it."
    found.changes = (*found.changes, Change(what="", became="wait", why=why))


def _is_tee(segment: Segment) -> bool:
    words = [each for each in segment.words if not is_assignment(each)]
    return bool(words) and program_name(recognise(words).call.program[0]) == "tee"


def _command_words(segment: Segment) -> list[Word]:
    """The words of the simple command itself, without `if`, `then`, `do` and the like."""
    words = list(segment.words)
    while words and words[0].raw in _KEYWORDS:
        words.pop(0)
    return [] if words and words[0].raw in _NO_COMMAND else words


def _placed(call: Call, words: list[Word], segment: Segment) -> Call:
    start, end = words[0].start, words[-1].end
    inner = [r.raw for r in segment.redirects if start < r.start < end]
    return replace(
        call,
        start=start,
        end=end,
        redirects=" ".join(inner),
        background=segment.operator == "&",
    )


def _visible(variables: Mapping[str, str], otherwise: GpuRequest) -> GpuRequest:
    value = variables.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return otherwise
    return gpu_request.visible_devices(value, f"CUDA_VISIBLE_DEVICES={value}")
