# SPDX-License-Identifier: MIT
"""python -m qpal.calibrate: see --help."""
import argparse
import os
import signal
import sys

MOST_CONTEXT, FIRST = 1 << 20, 12


class Wrong(Exception):
    """Bad arguments or input."""


def whole(least, most):
    def parse(text):
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"'{text}': a number from {least} to {most} is needed")
        return int(text)
    return parse


def share(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 1e-6 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}': from 0.000001 to 1")
    return value


def parser():
    p = argparse.ArgumentParser(
        prog="python -m qpal.calibrate",
        description="Runs a model of transformers on a text and writes what qpal plan and quantize "
        "take as --calibration DIR: E[x x^T] of what the linears read (Hessians) and each linear's "
        "sensitivity. As qpal calibrate does, for every causal model that transformers loads; "
        "guided Hessians and Fisher sensitivities, which need gradients, besides. A run that was "
        "stopped goes on where it was.")
    a = p.add_argument
    a("model", metavar="MODEL", help="a folder of transformers, or a .gguf")
    a("--text", metavar="FILE", help="UTF-8 text, by the model's own tokenizer")
    a("--tokens", metavar="FILE", help="token ids, a text a line")
    a("-o", "--output", metavar="DIR", required=True, help="where the calibration goes")
    a("--tokens-used", type=whole(0, 1 << 31), default=32768, metavar="N",
      help="tokens of FILE, from its beginning (32768; 0: all)")
    a("--context", type=whole(2, MOST_CONTEXT), default=2048, metavar="N",
      help="tokens of a piece of it (2048)")
    a("--guided", type=whole(1, 64), default=0, metavar="G",
      help="Hessians weighted by squared gradients, one for each of up to G groups of neighbouring "
      "rows of a linear")
    a("--fisher", action="store_true",
      help="sensitivities from gradients: all at once, in place of two runs a linear")
    a("--labels", choices=("sampled", "text"), default="sampled",
      help="gradients are of what the model itself predicts (default), or of the text's tokens")
    a("--sensitivity-tokens", type=whole(1, 1 << 24), default=2048, metavar="N",
      help="tokens on which they are measured, in whole pieces (2048)")
    a("--noise", type=share, default=0.01, metavar="T",
      help="relative variance of the noise (0.01)")
    a("--probes", type=whole(1, 1024), default=0, metavar="N",
      help="pairs of noise a linear (1), or with --fisher draws a piece (4)")
    a("--seed", type=whole(0, 2 ** 32 - 1), default=1, metavar="N", help="of noise and draws (1)")
    a("--no-hessians", action="store_true", help="sensitivities alone")
    a("--no-sensitivities", action="store_true", help="Hessians alone")
    a("--device", default="cpu", metavar="D", help="of torch: cpu (default), cuda:0")
    a("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    a("--memory", type=whole(1, 1 << 20), default=4096, metavar="MIB",
      help="what sums may take at a time; with more gradients are taken fewer times (4096)")
    a("--threads", type=whole(0, 256), default=0, metavar="N",
      help="of the CPU (0: torch's choice)")
    return p


def check(o):
    if bool(o.text) == bool(o.tokens):
        raise Wrong("--text FILE or --tokens FILE is needed" + (", not both" if o.text else ""))
    if o.no_hessians and o.no_sensitivities:
        raise Wrong("--no-hessians and --no-sensitivities leave nothing to do")
    if o.guided and o.no_hessians:
        raise Wrong("--guided is of Hessians: not with --no-hessians")
    if o.fisher and o.no_sensitivities:
        raise Wrong("--fisher is of sensitivities: not with --no-sensitivities")
    if not os.path.exists(o.model):
        raise Wrong(f"{o.model}: there is no such folder or file")


def source_of(path):
    """What from_pretrained takes."""
    if path.endswith(".gguf"):
        folder, name = os.path.split(os.path.abspath(path))
        return folder, {"gguf_file": name}
    return path, {}


def load(o, torch, transformers):
    folder, words = source_of(o.model)
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, o.dtype), attn_implementation=attention(folder, words,
                                                                                  transformers),
            local_files_only=True, **words).to(o.device)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as e:
        raise Wrong(f"{o.model}: {e}") from None


def attention(folder, words, transformers):
    """Attention whose scores are soft-capped has no fused form on every device."""
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, **words)
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if capped else "sdpa"


def pieces_of(o, transformers):
    from . import tokens
    most = o.tokens_used
    try:
        if o.tokens:
            return tokens.of_ids(o.tokens, o.context, most)
        folder, words = source_of(o.model)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True,
                                                               **words)
        return tokens.of_text(o.text, tokenizer, o.context, most)
    except tokens.TokenError as e:
        raise Wrong(str(e)) from None


def fit(pieces, vocab, name):
    """A last piece of one token predicts nothing: it is left out."""
    pieces = [ids for ids in pieces if len(ids) > 1]
    largest = max((max(ids) for ids in pieces), default=None)
    if largest is None:
        raise Wrong(f"{name}: pieces of at least 2 tokens are needed")
    if largest >= vocab:
        raise Wrong(f"{name}: id {largest} is not below the size of the vocabulary, {vocab}")
    return pieces


def print_ranking(result):
    linears = result["linears"]
    total = sum(x["sensitivity"] for x in linears.values()) or 1
    width = max(map(len, linears))
    print(f"{'linear':{width}}  {'sensitivity':>11}  {'+-':>8}  loss %")
    order = sorted(linears, key=lambda name: -linears[name]["sensitivity"])
    for name in order[:FIRST]:
        a, e = linears[name]["sensitivity"], linears[name]["standard_error"]
        print(f"{name:{width}}  {a:11.4g}  {e:8.1g}  {100 * a / total:6.1f}")
    print("loss %: share of the sum of sensitivities, where loss lies if all linears have the same "
          "distortion")


def run(o):
    check(o)
    try:
        import torch
        import transformers
    except ImportError as e:
        raise Wrong(f"torch and transformers are needed: {e}") from None
    from . import Options, calibrate
    from .files import FolderError
    if o.threads:
        torch.set_num_threads(o.threads)
    if not sys.stderr.isatty():
        transformers.logging.disable_progress_bar()
    model = load(o, torch, transformers)
    pieces = fit(pieces_of(o, transformers), model.get_input_embeddings().weight.shape[0],
                 o.text or o.tokens)
    options = Options(
        hessians=not o.no_hessians, guided=o.guided, fisher=o.fisher, labels=o.labels,
        sensitivity_tokens=0 if o.no_sensitivities else o.sensitivity_tokens, noise=o.noise,
        probes=o.probes or (4 if o.fisher else 1), seed=o.seed, text=o.text or o.tokens,
        memory=o.memory << 20, progress=sys.stderr.isatty())
    try:
        result = calibrate(model, pieces, o.output, options)
    except (FolderError, ValueError) as e:
        raise Wrong(str(e)) from None
    if result["linears"]:
        print_ranking(result)


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(parser().parse_args())
    except Wrong as e:
        sys.exit(_fail(e))
    except OSError as e:
        sys.exit(_fail(e))
    except KeyboardInterrupt:
        sys.exit(_fail("stopped; the same command goes on where it was"))


def _fail(message):
    print(f"qpal.calibrate: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
