#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/model/tokenizers/: small tokenizers and the ids that Hugging Face's tokenizers gives
for lines of text.

    pip install tokenizers gguf
    tests/model/make_tokenizers.py

test_tokenizer.c reads them.  Trained on the lines themselves, so that a run makes the same files.
Two are written as GGUF too: byte.gguf (gpt2, smollm) is byte.json, pieces.gguf (llama) has scores
in the order of pieces.json's tokens.
"""
import base64
import json
import pathlib
import random
import struct

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).resolve().parent / "tokenizers"
PROSE = """The quick brown fox jumps over the lazy dog; it's what they've said, isn't it?
It was the best of times, it was the worst of times.  WE'LL SEE what I'd do.
def main(argc, argv):\n    for i in range(10):\n\t\treturn {"key": [1, 2.5e-3, 0x1F]}
Größe, naïve café, Straße, İstanbul, ﬁne ﬂow, Ａｂｃ １２３ ①②
Быстрая коричневая лиса, Ελληνικά κείμενα, עברית, العربية ١٢٣
日本語の文章です。漢字とカタカナ。 中文分词测试，二〇二六年。 한국어 문장입니다.
हिन्दी में एक वाक्य, ภาษาไทยไม่มีช่องว่าง, ქართული
😀 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ❤️ x² ½ Ⅻ № 5
1234567890 3.14159 1,000,000 2026-11-28 v1.2.3
 leading, trailing  \n\n\n   \t mixed\r\n blanks\u00a0\u3000\u2009end
<s> inside </s> text <|end|>  <pad>x<mask>  after
e\u0301 a\u030a o\u0308 \u1e9b\u0323 \u212b \ufb03 \u200b \u200d \ufeff \u0085 \u180e
""".split("\n")


def lines():
    rng = random.Random(3)
    words = [w for line in PROSE for w in line.replace("\\n", "\n").split(" ")]
    out = [line for line in PROSE if line] + [
        "", " ", "  ", "\n", "▁", "▁▁a ▁b", "'", "a\1b", "\u180e\u180ex \u180e"]
    while len(out) < 110:
        out.append("".join(
            rng.choice(words) + rng.choice([" ", " ", "", "  ", "\n"])
            for _ in range(rng.randrange(1, 8))))
    return out


def charsmap(pairs):
    """SentencePiece's compiled form of {from: to}: a double-array trie (darts-clone) and texts."""
    texts, root, values = b"", {}, {}
    for source, target in pairs.items():
        node = root
        for byte in source.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += target.encode() + b"\0"
    units, used = {0: 0}, {0}

    def place(node, at):
        children = sorted(node)
        base = next(b for b in range(256, 1 << 20) if all((b ^ c) not in used for c in children))
        used.update(base ^ c for c in children)
        offset = at ^ base
        assert offset < 1 << 21
        units[at] = units.get(at, 0) | offset << 10 | (0x100 if 0 in node else 0)
        for c in children:
            units[base ^ c] = 0x80000000 | node[c] if c == 0 else c
        for c in children:
            if c:
                place(node[c], base ^ c)

    place(root, 0)
    trie = b"".join(struct.pack("<I", units.get(i, 0)) for i in range((max(units) | 255) + 1))
    return struct.pack("<I", len(trie)) + trie + texts


def special(*names):
    return [AddedToken(n, special=True, normalized=False) for n in names]


def byte():
    """GPT-2's bytes and words, each digit alone: SmolLM2's kind."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.train_from_iterator(
        PROSE,
        trainers.BpeTrainer(vocab_size=420, special_tokens=["<s>", "</s>"], show_progress=False,
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def regex():
    """Llama 3's words, whole words before merges, NFC as Qwen has it, tokens that take blanks with
    them or stand alone."""
    words = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| "
        r"?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(words), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.train_from_iterator(
        PROSE,
        trainers.BpeTrainer(vocab_size=400, show_progress=False,
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens(special("<s>", "</s>"))
    t.add_tokens([
        AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False),
        AddedToken("it", single_word=True, normalized=False),
        AddedToken("Å", normalized=True)])
    t.post_processor = processors.Sequence([
        processors.ByteLevel(),
        processors.TemplateProcessing(
            "<s> $A </s>", special_tokens=[("<s>", t.token_to_id("<s>")),
                                           ("</s>", t.token_to_id("</s>"))])])
    return t


def pieces():
    """SentencePiece's BPE: Llama 2's kind."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    t.train_from_iterator(
        PROSE,
        trainers.BpeTrainer(vocab_size=560, special_tokens=names, show_progress=False,
                            limit_alphabet=80))
    data = json.loads(t.to_str())
    data["pre_tokenizer"] = None
    data["added_tokens"] = data["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return t


def metaspace():
    """BPE on characters without bytes: unknown ones stay unknown; a mark before the first word
    only."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False))
    t.normalizer = normalizers.Sequence([
        normalizers.NFKD(), normalizers.StripAccents(),
        normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("merged_with_previous"),
        pre_tokenizers.Metaspace(prepend_scheme="first")])
    t.train_from_iterator(
        PROSE,
        trainers.BpeTrainer(vocab_size=260, special_tokens=["<unk>", "<s>"], show_progress=False,
                            limit_alphabet=60))
    return t


def unigram():
    """T5's and XLM-R's kind, with a compiled map."""
    t = Tokenizer(models.Unigram())
    pairs = {
        "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "Ａ": "A", "ｂ": "b", "ｃ": "c", "①": "1", "②": "2",
        "e\u0301": "é", "½": "1⁄2", "\u00a0": " ", "\u3000": " ", "\u200b": " ", "\ufeff": "",
        "\n": " "}
    t.normalizer = normalizers.Sequence([
        normalizers.Precompiled(charsmap(pairs)),
        normalizers.Strip(left=False, right=True),
        normalizers.Replace(Regex(" {2,}"), "▁")])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Metaspace()])
    t.train_from_iterator(
        PROSE,
        trainers.UnigramTrainer(vocab_size=260, special_tokens=["<unk>", "<s>", "</s>"],
                                unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 2)])
    return t


def write_gguf(path, tokenizer, model, pre=None):
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    names = [name for name, _ in vocab]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model(model)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(names)
    control = {"<unk>": 2, "<s>": 3, "</s>": 3}
    writer.add_token_types([
        control.get(n, 6 if n.startswith("<0x") and model == "llama" else 1) for n in names])
    writer.add_bos_token_id(names.index("<s>"))
    if model == "gpt2":
        merges = json.loads(tokenizer.to_str())["model"]["merges"]
        writer.add_token_merges([" ".join(m) for m in merges])
    else:
        writer.add_token_scores([-float(i) for i in range(len(names))])
        writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    texts, ids = lines(), {}
    for make in (byte, regex, pieces, metaspace, unigram):
        tokenizer = make()
        ids[make.__name__] = [tokenizer.encode(text).ids for text in texts]
        (OUT / f"{make.__name__}.json").write_text(
            json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) +
            "\n")
        if make is byte:
            write_gguf(OUT / "byte.gguf", tokenizer, "gpt2", "smollm")
        if make is pieces:
            write_gguf(OUT / "pieces.gguf", tokenizer, "llama")
    body = ",\n".join(f' "{name}": [\n' + ",\n".join("  " + json.dumps(i, separators=(",", ":"))
                                                     for i in rows) + "\n ]"
                      for name, rows in ids.items())
    head = ",\n".join("  " + json.dumps(t, ensure_ascii=False) for t in texts)
    (OUT / "lines.json").write_text('{"lines": [\n' + head + '\n ],\n' + body + "\n}\n")


main()
