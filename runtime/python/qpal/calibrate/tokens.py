# SPDX-License-Identifier: MIT
"""Token ids from a file, in pieces:  text or ids --> [[id]]."""


class TokenError(Exception):
    pass


def _cut(ids, step, before=()):
    return [[*before, *ids[at:at + step]] for at in range(0, len(ids), step)]


def of_ids(path, context, most):
    """A text a line, ids with blanks between; lines that begin with # are comments.  At most 'most'
    ids (0: all) in pieces of 'context', each of one line."""
    pieces, left = [], most or float("inf")
    with open(path, encoding="ascii", errors="replace") as f:
        for number, line in enumerate(f, 1):
            if line.startswith("#") or left <= 0:
                continue
            ids = []
            for word in line.split():
                if not (word.isascii() and word.isdigit() and int(word) < 1 << 32):
                    raise TokenError(f"{path}: line {number}: '{word}' is no id; a line should be "
                                     "ids below 2^32 with blanks between")
                ids.append(int(word))
            ids = ids[:int(min(left, len(ids)))]
            left -= len(ids)
            pieces += _cut(ids, context)
    if not pieces:
        raise TokenError(f"{path}: there are no token ids in it")
    return pieces


def _before(tokenizer):
    """What the tokenizer puts before a text."""
    whole, plain = tokenizer("a").input_ids, tokenizer("a", add_special_tokens=False).input_ids
    for at in range(len(whole) - len(plain) + 1):
        if whole[at:at + len(plain)] == plain:
            return whole[:at]
    return []


def of_text(path, tokenizer, context, most):
    """The same of UTF-8 text by the model's tokenizer: 'most' counts the text's own tokens, each
    piece begins with what the tokenizer puts before a text."""
    with open(path, "rb") as f:
        data = f.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise TokenError(f"{path}: byte {e.start} is not UTF-8") from None
    before = _before(tokenizer)
    if context <= len(before) + 1:
        raise TokenError(f"a context of {context} tokens: the tokenizer puts {len(before)} before "
                         "each text")
    ids = tokenizer(text, add_special_tokens=False).input_ids
    ids = ids[:most] if most else ids
    if not ids:
        raise TokenError(f"{path}: there is no text in it")
    return _cut(ids, context - len(before), before)
