"""Reading an argument list of Megatron-LM into Design fields, with Megatron's own defaults."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from perflaw_jax.configs import hf_rules
from perflaw_jax.configs import megatron_flags as flags
from perflaw_jax.configs.imported import Imported, differs, imported, whole
from perflaw_jax.design import nearest
from perflaw_jax.spec_values import show

MAX_LAYERS = 2**20  # of a --moe-layer-freq that is computed
OPENING = re.compile(r"\w+\+?=(\(|(?=\s*--))")  # NAME=( of an array, or NAME="--flag ..."
END = ")"
MORE = re.compile(r"\$\{?\w*(\[[@*]\]\}|(ARGS|OPTIONS|OPTS|FLAGS)\b\}?)")  # a variable that holds arguments

Arguments = Mapping[str, list[str]]


def read_megatron(text_or_path: str | Path) -> Imported:
    """The design in an argument list, or in a file of one: the lines of a shell script's array, comments allowed.

    Raises:
        ValueError: a flag that is not known, a value that the Design cannot hold, or one that is missing; one line.
        OSError: the file cannot be read.
    """
    if isinstance(text_or_path, Path) or "--" not in text_or_path:
        where = f"{text_or_path}: "
        try:
            text = Path(text_or_path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{where}not an argument list: not text") from None
    else:
        text, where = text_or_path, ""
    try:
        return _read(_arguments(text))
    except ValueError as error:
        raise ValueError(f"{where}{error}") from None


def _arguments(text: str) -> dict[str, list[str]]:
    """Flag without its dashes -> its values; a flag given twice has its last values, as in argparse."""
    found: dict[str, list[str]] = {}
    flag = None
    for word in _words(text):
        if more := MORE.search(word):
            raise ValueError(f"{more[0]} stands for further arguments: write them out in its place")
        if word.startswith("--"):
            flag, equals, value = word[2:].replace("_", "-").partition("=")
            found[flag] = [value] if equals else []
        elif word == END:
            flag = None
        elif flag is not None:
            found[flag].append(word)
        else:
            raise ValueError(f"not an argument list: {show(word)} stands where a flag such as --num-layers should")
    return found


def _words(text: str) -> Iterator[str]:
    """The words of a command, or of arrays and strings of a shell script; ``END`` where one of those begins or ends."""
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
        script = next((i for i, word in enumerate(words) if word.endswith(".py")), -1)  # before it stands what launches it
        for word in words[script + 1 :]:
            opening = OPENING.match(word)
            if opening:
                yield END
            rest = word[opening.end() :] if opening else word
            closed = rest.endswith(END) and "(" not in rest
            rest = rest.removesuffix(END) if closed else rest
            yield from shlex.split(rest) if opening else [rest] * bool(rest)
            if closed:
                yield END
    except ValueError as error:
        raise ValueError(f"not an argument list: {error}") from None


def _read(given: Arguments) -> Imported:
    _refuse_unknown(given)
    for flag, words in flags.WORDS.items():
        if flag in given and given[flag] not in ([word] for word in words):
            raise ValueError(f"--{flag}: must be {', '.join(words)}, not {show(' '.join(given[flag]))}")
    fields = _sizes(given)
    fields["gated_ffn"] = int("swiglu" in given or "quick-geglu" in given)
    fields["tie_word_embeddings"] = int("untie-embeddings-and-output-weights" not in given)
    fields["attention_bias"] = fields["mlp_bias"] = int("disable-bias-linear" not in given)
    fields["qkv_bias"] = int("add-qkv-bias" in given)
    fields["qk_norm"] = int("qk-layernorm" in given)
    if "num-experts" in given:
        fields |= _experts(given, fields)
    fields["vocab_size"], notes = _vocabulary(given, fields["vocab_size"])
    return imported("megatron", fields, notes + _beside(given, fields), _say)


def _refuse_unknown(given: Arguments) -> None:
    known = {*flags.NUMBERS, *flags.SWITCHES, *flags.WORDS, *flags.PADDING, flags.LAYERS}
    for flag, values in given.items():
        if flag in flags.REFUSED:
            raise ValueError(f"--{flag}: {flags.REFUSED[flag]}")
        if flag in known and (variable := next((value for value in values if "$" in value), None)):
            raise ValueError(f"--{flag}: {variable} is a variable of a shell: write its value in its place")
        if flag in flags.SWITCHES and values:
            raise ValueError(f"--{flag}: takes no value, got {show(' '.join(values))}")
    ignored = (flag for flag in given if flag not in known | flags.IGNORED)
    unknown = [f"--{flag}" for flag in ignored if not flag.startswith(flags.IGNORED_PREFIXES)]
    if unknown:
        hint = nearest(unknown[0][2:], known)
        hint = f"; {hint}" if hint.startswith("did") and len(unknown) == 1 else "; nothing is guessed"
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ValueError(f"unknown argument{'s' if len(unknown) > 1 else ''} {', '.join(unknown[:5])}{more}{hint}")


def _sizes(given: Arguments) -> dict[str, int]:
    """The fields of every decoder, derived as Megatron derives those that are not given."""
    for flag in ("num-layers", "hidden-size", "num-attention-heads", "vocab-size"):
        if flag not in given:
            tokenizer = "; Megatron would take the tokenizer's" if flag == "vocab-size" else ""
            raise ValueError(f"--{flag}: missing{tokenizer}")
    layers, width, heads, vocabulary = (
        _number(given, flag) for flag in ("num-layers", "hidden-size", "num-attention-heads", "vocab-size")
    )
    context = next((flag for flag in ("max-position-embeddings", "seq-length") if flag in given), None)
    if context is None:
        raise ValueError("--max-position-embeddings: missing, and so is --seq-length")
    if "kv-channels" not in given and width % heads:
        raise ValueError(f"--kv-channels: missing, and --hidden-size {width} is no multiple of --num-attention-heads {heads}")
    ffn = 4 * width if "swiglu" not in given else int(4 * width * 2 / 3 / 64) * 64
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": _number(given, "ffn-hidden-size", ffn),
        "num_attention_heads": heads,
        "num_key_value_heads": _number(given, "num-query-groups", 1) if "group-query-attention" in given else heads,
        "head_dim": _number(given, "kv-channels", width // heads),
        "vocab_size": vocabulary,
        "context_length": _number(given, context),
    }


def _experts(given: Arguments, fields: Mapping[str, int]) -> dict[str, int]:
    layers = fields["num_hidden_layers"]
    pattern = _moe_layers(given, layers)
    dense = pattern.index(1) if 1 in pattern else layers
    if 0 in pattern[dense:]:
        raise ValueError(f"--{flags.LAYERS}: only leading layers may be dense, a Design interleaves no MoE layers")
    return {
        "num_experts": _number(given, "num-experts"),
        "num_experts_per_tok": _number(given, "moe-router-topk", 2),
        "moe_intermediate_size": _number(given, "moe-ffn-hidden-size", fields["intermediate_size"]),
        "shared_expert_intermediate_size": _number(given, "moe-shared-expert-intermediate-size", 0),
        "first_k_dense_replace": dense,
    }


def _moe_layers(given: Arguments, layers: int) -> list[int]:
    """1 for an MoE layer, 0 for a dense one: every n-th from the first, or as the list says."""
    text = " ".join(given.get(flags.LAYERS, ["1"])).strip("'\"")
    try:
        value = _computed(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"--{flags.LAYERS}: must be a number or a list such as [0]*3+[1]*58, not {show(text)}") from None
    if isinstance(value, int):
        if value < 1:
            raise ValueError(f"--{flags.LAYERS}: must be >= 1, not {value}")
        return [int(layer % value == 0) for layer in range(layers)]
    if len(value) != layers or {*value} - {0, 1}:
        raise ValueError(f"--{flags.LAYERS}: must be a 0 or 1 for each of {layers} layers, got {len(value)} values")
    return value


def _computed(node: ast.expr) -> int | list[int]:
    """The value of a sum and product of numbers and lists, and of nothing else."""
    if isinstance(node, ast.Constant) and type(node.value) is int and node.value <= MAX_LAYERS:
        return node.value
    if isinstance(node, ast.List):
        items = [_computed(item) for item in node.elts]
        return [item for item in items if isinstance(item, int)]
    if isinstance(node, ast.BinOp):
        left, right = _computed(node.left), _computed(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
            return left + right
        if isinstance(node.op, ast.Mult) and isinstance(left, list) and isinstance(right, int):
            if len(left) * right <= MAX_LAYERS:
                return left * right
    raise ValueError("no list of layers")


def _vocabulary(given: Arguments, vocabulary: int) -> tuple[int, list[str]]:
    """The rows of the embedding, which Megatron pads so that every tensor-parallel rank has a round number of them."""
    multiple = 1
    for flag, default in flags.PADDING.items():
        multiple *= _number(given, flag, default)
    padded = -(-vocabulary // multiple) * multiple
    return padded, [
        f"vocab_size is {vocabulary:,} padded to a multiple of {multiple}: {padded:,}"
    ] if padded > vocabulary else []


def _beside(given: Arguments, fields: Mapping[str, int]) -> list[str]:
    """Notes of what Megatron's model has and the Design has not."""
    notes = []
    if given.get("normalization", ["LayerNorm"]) == ["LayerNorm"]:
        notes += hf_rules.norm_biases({}, fields)[1]
    rotary = {"use-rotary-position-embeddings", "no-position-embedding"} & {*given}
    if not rotary and given.get("position-embedding-type", ["learned_absolute"]) == ["learned_absolute"]:
        notes.append(differs(fields["context_length"] * fields["hidden_size"], "learned positions"))
    if "moe-shared-expert-gate" in given and "num-experts" in given:
        notes += hf_rules.shared_gate({}, fields)[1]
    if "num-query-groups" in given and "group-query-attention" not in given:
        notes.append("--num-query-groups has no effect without --group-query-attention")
    return notes


def _number(given: Arguments, flag: str, default: int | None = None) -> int:
    if flag not in given and default is not None:
        return default
    text = " ".join(given[flag])
    try:
        return whole(int(text) if re.fullmatch(r"[0-9]{1,18}", text) else text, 1)
    except ValueError as error:
        raise ValueError(f"--{flag}: {error}") from None


def _say(field: str, wrong: str) -> ValueError:
    flag = next((flag for flag, name in flags.NUMBERS.items() if name == field), flags.LAYERS)
    return ValueError(f"--{flag}: {wrong}")
